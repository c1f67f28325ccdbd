"""The report on a data set finds what was planted, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnrun.data.dataset import Dataset, Split, chosen
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import BadFile, ImageOptions
from cnnrun.data.images.files import Files
from cnnrun.data.inspection.examples import example_pairs
from cnnrun.data.inspection.report import report
from cnnrun.data.inspection.text import to_text, warnings
from cnnrun.errors import UserError
from cnnrun.plots import style
from cnnrun.plots.drawing.data_report import draw_data_report
from cnnrun.runtime.text_table import width_of
from tests.conftest import quick_ones
from tests.photo_like import brighter, jpeg, photos
from tests.plot_reading import LONG, ODD_NAMES, assert_readable, rendered, share_of, words


def dataset(labels: torch.Tensor | None = None, classes: int = 3) -> Dataset:
    """60 training, 20 validation and 40 test images, no two alike."""
    images = photos(120)
    labels = torch.arange(120) % classes if labels is None else labels
    names = tuple(f"class {k}" for k in range(classes))
    parts = [Split(images[a:b].clone(), labels[a:b]) for a, b in ((0, 60), (60, 80), (80, 120))]
    return Dataset(names, parts[0], parts[2], parts[1])


def tensors(data: Dataset) -> list[torch.Tensor]:
    """The images of the training, validation and test split, to be changed."""
    found = [data.split(name).images for name in ("train", "validation", "test")]
    assert all(isinstance(images, torch.Tensor) for images in found)
    return found  # type: ignore[return-value]


def where(places: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(place["split"], place["index"]) for place in places]


def test_a_clean_data_set_gives_no_warning() -> None:
    found = report(dataset())
    assert warnings(found) == []
    assert "No problems found" in to_text(found)
    assert found["exact"]["groups"] == found["near"]["pairs"] == found["blank"]["count"] == 0


def test_columns_are_aligned_after_wide_names() -> None:
    found = report(replace(dataset(), classes=("猫", "とても長いクラス", "c")))
    table = to_text(found).split("\n\n")[1].splitlines()
    assert len({width_of(line) for line in table}) == 1, table


def test_planted_faults_are_found_and_nothing_else() -> None:
    data = dataset()
    train, validation, test = tensors(data)
    test[3] = train[6]  # 83 % 3 != 6 % 3: another label
    validation[2] = train[8]  # 62 % 3 == 8 % 3
    train[20] = train[23]  # within the split, the same label
    train[30], train[31], test[5] = 0, 0, 255  # blank
    test[11] = brighter(train[12])
    test[12] = jpeg(train[13], 60)
    train[41] = torch.roll(train[44], 1, dims=2)
    found = report(data)
    exact, near = found["exact"], found["near"]
    assert [where(group) for group in exact["images"]] == [
        [("train", 6), ("test", 3)],
        [("train", 8), ("validation", 2)],
        [("train", 20), ("train", 23)],
    ]
    assert exact["leaked"] == {"validation": 1, "test": 1}
    assert (exact["groups"], exact["surplus"], exact["across"], exact["conflicts"]) == (3, 3, 2, 1)
    assert sorted(where(pair) for pair in near["images"]) == [
        [("train", 12), ("test", 11)],
        [("train", 13), ("test", 12)],
        [("train", 41), ("train", 44)],
    ]
    assert near["leaked"] == {"validation": 0, "test": 2}
    assert near["across"] == 2
    assert where(found["blank"]["images"]) == [("train", 30), ("train", 31), ("test", 5)]


def test_report_can_be_written_as_json() -> None:
    found = report(dataset())
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), min_size=120, max_size=120))
@settings(max_examples=10, deadline=None)
def test_counts_equal_numpys(labels: list[int]) -> None:
    found = report(dataset(torch.tensor(labels), classes=4))
    parts = {"train": labels[:60], "validation": labels[60:80], "test": labels[80:], "all": labels}
    for name, part in parts.items():
        counts = np.bincount(part, minlength=4)
        assert found["counts"][name] == counts.tolist()
        assert found["totals"][name] == len(part)
        if name != "all":
            empty = [f"class {k}" for k in np.flatnonzero(counts == 0)]
            assert found["missing"][name] == empty
    train = np.bincount(labels[:60], minlength=4)
    ratio = train.max() / train.min() if train.min() else None
    assert found["imbalance"]["ratio"] == ratio
    assert found["few"] == [f"class {k}" for k in np.flatnonzero((train > 0) & (train < 10))]


def test_pixel_numbers_equal_numpys() -> None:
    data = dataset()
    found = report(data)["pixels"]
    images = tensors(data)[0]
    train = images.numpy() / 255
    np.testing.assert_allclose(found["mean"], train.mean((0, 2, 3)))
    np.testing.assert_allclose(found["std"], train.std((0, 2, 3)))
    brightness = train.mean((1, 2, 3))
    for name, quantile in (("least", 0), ("median", 0.5), ("most", 1)):
        expected = np.quantile(brightness, quantile)
        assert found["brightness"][name] == pytest.approx(expected, abs=1e-6)
    red = np.bincount(images[:, 0].flatten(), minlength=256)
    assert found["histogram"][0] == red.tolist()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset()
    train, _, test = tensors(data)
    test[3] = train[6]
    told: list[int] = []
    whole = report(data)
    monkeypatch.setattr("cnnrun.data.inspection.report._CHUNK_BYTES", 7 * 3 * 64 * 64)
    assert report(data, lambda _, done, total: told.append(total - done)) == whole
    assert len(told) == 9 + 3 + 6
    assert told[-1] == 0


def test_no_training_images_is_said() -> None:
    data = dataset()
    with pytest.raises(UserError, match="no training images"):
        report(replace(data, train=data.train.take(torch.arange(0))))


def test_tiny_images_are_not_searched() -> None:
    data = dataset()
    small = data.each_split(
        lambda split: Split(split.images[torch.arange(len(split))][:, :, :8, :8], split.labels)
    )
    found = report(small)
    assert not found["near"]["searched"]
    assert "too small" in to_text(found)


def folder_data(folder: Path) -> Dataset:
    images = photos(12, size=24)
    images[9] = images[2]
    paths = [str(folder / f"p{k} \u65e5.png") for k in range(12)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    Image.new("L", (40, 30), 9).save(paths[11])
    options = ImageOptions(size=(24, 24), cache_dir=str(folder / "cache"))
    labels = torch.arange(6) % 2
    parts = {"train": (Files(paths[:6]), labels), "test": (Files(paths[6:]), labels)}
    splits = image_splits(parts, options)
    return Dataset(("a", "b"), splits["train"], splits["test"])


def test_files_are_named_and_their_own_sizes_counted(tmp_path: Path) -> None:
    data = folder_data(tmp_path)
    backwards = torch.arange(6).flip(0)
    test = Split(chosen(data.test.images, backwards), data.test.labels[backwards])
    found = report(replace(data, test=test, bad_files=(BadFile("x\udce4.png", "is empty"),)))
    assert found["files"] == {
        "sizes": {"24 x 24": 11, "30 x 40": 1},
        "modes": {"RGB": 11, "L": 1},
    }
    ((first, second),) = found["exact"]["images"]
    assert first == {
        "split": "train",
        "index": 2,
        "class": "a",
        "file": str(tmp_path / "p2 日.png"),
    }
    assert (second["index"], second["file"]) == (2, str(tmp_path / "p9 日.png"))
    assert found["blank"]["images"][0]["file"] == str(tmp_path / "p11 日.png")
    assert found["bad_files"] == [{"path": "x\udce4.png", "reason": "is empty"}]
    text = to_text(found)
    assert "1 sample can't be read" in text
    text.encode()  # a lone surrogate would end the program here
    for line in ("24 x 24 (11), 30 x 40 (1)", "p9 日.png", "is empty"):
        assert line in text


def test_the_worst_warning_comes_first() -> None:
    labels = torch.tensor([0] * 57 + [1] * 3 + [0, 1] * 10 + [0] * 40)
    data = dataset(labels, classes=3)
    train, _, test = tensors(data)
    test[0] = train[58]
    train[4] = 80
    lines = warnings(report(data))
    starts = [line.split(":")[0] for line in lines]
    assert starts == ["leakage", "labels", "classes", "classes", "classes", "classes", "blank"]
    assert "1 of 40 test images (2.50%)" in lines[0]
    assert "1 of 3 have no image in the train split: class 2" in lines[2]
    assert to_text(report(data)).startswith(f"WARNING  {lines[0]}")


def test_imbalance_is_a_warning_above_ten() -> None:
    labels = torch.tensor([0] * 55 + [1] * 5 + [0, 1] * 30)
    (few, imbalance) = warnings(report(dataset(labels, classes=2)))
    assert "fewer than 10 training images: class 1" in few
    assert "11 times as many training images of class 0 (55) as of class 1 (5)" in imbalance


def test_examples_show_the_leak_first() -> None:
    data = dataset()
    train, _, test = tensors(data)
    train[20], train[40], test[4] = train[23], train[7], train[7]
    test[12] = brighter(train[13])
    found = report(data)
    images, captions = example_pairs(data, found)
    assert captions[0] == "train 7: class 1\ntest 4: class 0"
    assert captions[1] == "train 13: class 1\ntest 12: class 2"
    assert captions[2] == "train 20: class 2\ntrain 23: class 2"
    np.testing.assert_array_equal(images[1, 1], test[12].numpy() / np.float32(255))
    assert example_pairs(data, found, most=1)[0].shape == (1, 2, 3, 64, 64)


def made(count: int, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(count)
    data = dataset(torch.from_numpy(random.integers(0, count, 120)), count)
    return report(replace(data, **changes))


DRAWN = {
    "2 classes": lambda: made(2),
    "5 classes, odd names": lambda: made(5, classes=tuple(ODD_NAMES)),
    "10 classes, long names": lambda: made(10, classes=tuple(f"{LONG} {k}" for k in range(10))),
    "100 classes": lambda: made(100),
    "1000 classes": lambda: made(1000),
    "many sizes": lambda: (
        made(3) | {"files": {"sizes": {f"{k} x 12345": 10**6 - k for k in range(12)}, "modes": {}}}
    ),
}


@pytest.mark.parametrize(
    "name", quick_ones(DRAWN, "5 classes, odd names", "1000 classes", "many sizes")
)
def test_the_plot_is_readable(name: str) -> None:
    pairs = photos(16).reshape(8, 2, 3, 64, 64).numpy() / 255
    captions = [f"train 12345: {LONG}\ntest 1: {ODD_NAMES[2]}"] * 8
    figure = draw_data_report(DRAWN[name](), pairs, captions, title=f"{LONG} {LONG}")
    assert_readable(figure)


def test_the_bars_are_as_high_as_the_counts() -> None:
    labels = torch.tensor([0] * 40 + [1] * 20 + [0] * 20 + [1] * 40)
    figure = draw_data_report(report(dataset(labels, classes=2)))
    bars = [[patch.get_height() for patch in group] for group in figure.axes[1].containers]
    assert bars == [[40, 20], [20, 0], [0, 40]]
    assert share_of(rendered(figure), style.BLUE) > 0.02
    told = words(figure)
    assert "train (60)" in told
    assert any("have no image in the test split: class 0" in line for line in told)
    assert "duplicates and near duplicates" not in told
