"""Plots of a classifier's answers, and the names of the images that they show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun import runner
from cnnrun.components.tasks.metrics import calibration
from cnnrun.components.tasks.reconstruct import Reconstruct
from cnnrun.config.document import Document
from cnnrun.config.experiment import from_dict, load
from cnnrun.engine.build import build
from cnnrun.errors import UserError
from cnnrun.evaluation.ranking_curves import ranking
from cnnrun.plots import figure_of, style
from cnnrun.plots.drawing.confusion import draw_confusion
from cnnrun.plots.drawing.embedding import draw_embedding
from cnnrun.plots.drawing.lettering import left_to_right, percent
from cnnrun.plots.drawing.probabilities import OneClass, draw_calibration, draw_ranking
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Opened, Target
from tests.conftest import Command, slow_ones
from tests.plot_reading import assert_readable, counts, drawn_texts, words


@pytest.fixture(scope="module")
def of_files(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A run on image files, hardly trained, so that there are mistakes."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "data" / split / name).mkdir(parents=True)
            for k in range(8):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                file = folder / "data" / split / name / f"{name}{k} of {split}.png"
                Image.fromarray(pixels).save(file)
    config = folder / "files.yaml"
    config.write_text(
        f"dataset: {{name: folder, root: '{folder / 'data'}', validation: 0}}\n"
        "model: {name: mlp, hidden: [4]}\noptimizer: sgd\ndevice: cpu\n"
        "training: {epochs: 1, draw: false}\n"
    )
    return Target(runner.train(load(config, [f"output={folder}"]), quiet=True).path)


def drawn(name: str, target: Target, **parameters: object) -> Figure:
    figure = figure_of(name, target, Document("test", {"name": name, **parameters}))
    assert_readable(figure)
    return figure


def test_mistakes_name_their_files(of_files: Target) -> None:
    texts = words(drawn("mistakes", of_files))
    files = [text for text in texts if text.endswith(".png")]
    wrong = of_files.logits().argmax(1) != of_files.split("test").labels.numpy()
    assert len(files) == wrong.sum() > 0
    for file in files:
        assert f"{file[:3]}{file[3]} of test.png" == file
        assert f"true: {file[:3]}" in texts


def test_names_follow_samples_that_are_chosen(of_files: Target) -> None:
    test = of_files.split("test")
    names = {Path(test.name(k) or "").name for k in range(len(test))}
    assert names == {f"{c}{k} of test.png" for c in ("cat", "dog") for k in range(8)}
    some = test.take(torch.tensor([5, 1])).take(torch.tensor([1]))
    assert some.name(0) == test.name(1)
    assert some.caption(0) == Path(str(test.name(1))).name


@pytest.mark.slow
def test_outliers_name_their_files_and_show_the_noise(
    cnnrun: Command, of_files: Target, tmp_path: Path
) -> None:
    root = of_files.path.parent.parent / "data"
    (tmp_path / "ae.yaml").write_text(
        f"task: {{name: reconstruct, noise: 0.3}}\ndataset: {{name: folder, root: '{root}', "
        "validation: 0}\nmodel: {name: conv_autoencoder, channels: [4], code: 2}\n"
        "optimizer: adam\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    run = cnnrun("train", "ae.yaml", "-q").out.strip()
    texts = words(drawn("outliers", Target(Path(run)), count=3))
    assert {"original", "noisy input", "reconstruction"} <= set(texts)
    ended = cnnrun("eval", run, "--outliers", 3)
    assert ended.code == 0, ended.err
    listed = [line for line in ended.out.splitlines() if line.endswith((" (cat)", " (dog)"))]
    assert len(listed) == 3
    for line in listed:
        error, file = line.split("  ")
        assert Path(file.rpartition(" (")[0]).is_file()
        assert error in texts, "the same figure over the image"


def test_recall_stands_beside_its_row() -> None:
    matrix = np.array([[8, 2, 0], [0, 0, 0], [1, 1, 2]])
    figure = draw_confusion(matrix, ["a", "b", "c"])
    assert_readable(figure)
    recall = next(axes for axes in figure.axes if axes.get_xlabel() == "recall (%)")
    assert [bar.get_width() for bar in recall.patches] == [80, 0, 50]
    assert [text.get_text() for text in recall.texts] == ["80.0", "-", "50.0"]


def test_shares_of_the_class_in_the_cells() -> None:
    matrix = np.array([[2999, 1], [1, 1]])
    figure = draw_confusion(matrix, ["a", "b"], normalized=True)
    assert_readable(figure)
    cells = next(axes for axes in figure.axes if axes.get_ylabel() == "true class")
    assert [text.get_text() for text in cells.texts] == ["100.0", "<0.1", "50.0", "50.0"]


@pytest.mark.parametrize("classes", slow_ones([1, 2, 20, 21, 100, 1300], 1300))
def test_a_bar_of_recall_for_each_class(classes: int) -> None:
    figure = draw_confusion(counts(classes, 2), ["c"] * classes)
    recall = next(axes for axes in figure.axes if axes.get_xlabel() == "recall (%)")
    assert len(recall.patches) == classes


def test_calibration_shows_each_bin_and_the_error() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.1, 0.9]])
    found = calibration(probabilities, np.array([0, 1, 0, 1]), bins=5)
    figure = draw_calibration(found, "t")
    assert_readable(figure)
    axes = figure.axes[1]
    bars = [(bar.get_x(), bar.get_height()) for bar in axes.containers[0]]
    assert bars == [(pytest.approx(40), 100), (pytest.approx(80), pytest.approx(200 / 3))]
    assert f"{100 * found.error:.2f} %" in words(figure)


def test_of_many_classes_those_told_apart_worst_are_drawn() -> None:
    labels = np.repeat(np.arange(9), 20)
    random = np.random.default_rng(0)
    classes = [
        OneClass(f"class {k}", ranking((labels == k) * k + random.normal(size=180), labels == k))
        for k in range(9)
    ]
    for kind in ("precision_recall", "roc"):
        figure = draw_ranking(classes, kind, "t")
        assert_readable(figure)
        shown = [word.split("\n")[0] for word in words(figure) if word.startswith("class ")]
        areas = {one.name: one.area(kind) for one in classes}
        assert shown == sorted(areas, key=areas.__getitem__)[:7]
        mean = f"{np.mean(list(areas.values())):.4f}"
        assert any(f"the mean of all 9 classes is {mean}" in word for word in words(figure))


def test_two_classes_have_one_roc_curve(of_files: Target) -> None:
    lines = drawn("roc", of_files).axes[1].lines
    assert [line.get_label().split("\n")[0] for line in lines] == ["dog", "chance"]
    assert len(drawn("precision_recall", of_files).axes[1].lines) == 2


@pytest.mark.parametrize(
    "name", ["confusion", "mistakes", "calibration", "roc", "gradcam", "saliency", "invariance"]
)
def test_what_needs_a_classifier_says_so(name: str) -> None:
    experiment = {"dataset": "digits", "model": "mlp", "optimizer": "sgd", "device": "cpu"}
    parts = build(
        from_dict({**experiment, "name": "x", "training": {"epochs": 1, "draw": False}}, "x")
    )
    opened = Opened(replace(parts, task=Reconstruct()), trained=True)
    target = Target(Path("x.yaml"), opened=opened)
    with pytest.raises(UserError, match="needs a classifier"):
        drawn(name, target)


def test_features_of_a_deep_network_are_paged(tmp_path: Path) -> None:
    config = tmp_path / "deep.yaml"
    config.write_text(
        "dataset: {name: digits}\nmodel: {name: cnn, channels: [2, 2, 2, 2, 2, 2, 2, 2, 2, 2],"
        " pooling: none}\noptimizer: sgd\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    target = Target(config)

    def layers(**page: int) -> list[str]:
        texts = words(drawn("features", target, **page))
        return [text.split(":")[0] for text in texts if text.startswith("features.")]

    every = [f"features.{k}.conv" for k in range(10)]
    assert layers(page=1) + layers(page=2) == every
    some = layers()
    assert len(some) == 8
    assert {every[0], every[-1]} <= set(some)
    with pytest.raises(UserError, match="page 3: there are 2 pages; choose one from 1 to 2"):
        layers(page=3)


def test_names_from_right_to_left_keep_their_order() -> None:
    """Drawn one after the other from left to right, with the arrow between them."""
    sheet = style.new_figure(600, 100)
    one, other = "قطة", "חתול"
    text = sheet.text(0.1, 0.5, left_to_right(one, " → ", other), fontsize=9)
    [(_, box)] = drawn_texts(sheet)
    pixels = np.asarray(sheet.canvas.buffer_rgba())[..., 0] < 200  # type: ignore[attr-defined]
    alone = style.new_figure(600, 100)
    alone.text(0.1, 0.5, one, fontsize=9)
    [(_, first)] = drawn_texts(alone)
    start = np.asarray(alone.canvas.buffer_rgba())[..., 0] < 200  # type: ignore[attr-defined]
    width = int(first.width)
    left = int(box.x0)
    np.testing.assert_array_equal(pixels[:, left : left + width], start[:, left : left + width])
    assert text.get_text().count("\u200e") == 4


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100 %"), (0.987, "99 %"), (0.0042, "0.42 %"), (0, "0 %")]
)
def test_small_shares_keep_their_digits(share: float, text: str) -> None:
    assert percent(share) == text


def test_names_that_begin_with_an_underscore_are_in_legends() -> None:
    random = np.random.default_rng(0)
    mask = random.random(30) < 0.5
    classes = [OneClass(name, ranking(random.random(30), mask)) for name in ("_private", "open")]
    legend = draw_ranking(classes, "roc", "t").axes[1].get_legend()
    names = [text.get_text().split("\n")[0].strip("\u200e") for text in legend.get_texts()]
    assert names == ["_private", "open", "chance"]
    points, labels = random.random((30, 2)), mask.astype(int)
    figure = draw_embedding(points, labels, ["_private", "open"], ["x", "y"], "t")
    assert_readable(figure)
    texts = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert [text.strip("\u200e") for text in texts] == ["_private", "open"]
