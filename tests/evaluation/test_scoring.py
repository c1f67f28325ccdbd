"""`cnnrun eval` and `viz`: figures that do not depend on how they were asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import Command, Result


@pytest.fixture
def run(cnnrun: Command, tiny: Path) -> Path:
    """A trained CNN on digits; its weighted loss makes wrong averaging show."""
    ended = cnnrun(
        "train", tiny, "-q", "training.epochs=1", "model={name: cnn, channels: [8]}",
        "loss={name: cross_entropy, weight: [1,2,3,4,5,6,7,8,9,10], label_smoothing: 0.1}",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def _scores(ended: Result) -> dict[str, object]:
    assert ended.code == 0, ended.err
    found: dict[str, object] = json.loads(ended.out)
    return found


def test_figures_do_not_depend_on_the_batch_size(cnnrun: Command, run: Path) -> None:
    every = [_scores(cnnrun("eval", run, "--json", "--batch-size", b)) for b in (1, 7, 64, 1000)]
    whole = _scores(cnnrun("eval", run, "--json"))
    for scores in every:
        assert scores["loss"] == pytest.approx(whole["loss"], abs=1e-6)
        assert scores["ece"] == pytest.approx(whole["ece"], abs=1e-6)
        for key in ("accuracy", "top5", "confusion", "per_class"):
            assert scores[key] == whole[key]
    summary = json.loads((run / "summary.json").read_text())["test"]
    assert summary["accuracy"] == whole["accuracy"]
    assert summary["loss"] == pytest.approx(whole["loss"], abs=1e-6)


def test_validation_scores_are_those_of_the_log(cnnrun: Command, run: Path) -> None:
    scores = _scores(cnnrun("eval", run, "--json", "--split", "validation"))
    row = json.loads((run / "metrics.jsonl").read_text())
    assert scores["accuracy"] == row["validation_accuracy"]
    assert scores["loss"] == pytest.approx(row["validation_loss"], abs=1e-6)


@pytest.mark.slow
def test_a_checkpoint_alone_is_enough(cnnrun: Command, run: Path, tmp_path: Path) -> None:
    whole = _scores(cnnrun("eval", run, "--json"))
    moved = tmp_path / "elsewhere" / "digits.pt"
    moved.parent.mkdir()
    shutil.copy(run / "checkpoints" / "best.pt", moved)
    shutil.rmtree(run)
    assert _scores(cnnrun("eval", moved, "--json")) == {**whole, "checkpoint": str(moved)}
    assert cnnrun("viz", "confusion", moved, "-o", "c.png").code == 0


def test_text_output_has_a_row_a_class(cnnrun: Command, run: Path) -> None:
    ended = cnnrun("eval", run)
    assert ended.code == 0
    assert ended.out.startswith("test split, 360 images\naccuracy ")
    assert len([line for line in ended.out.splitlines() if line[:1].isdigit()]) == 10


def _change(run: Path, **changes: object) -> Path:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    file = run / "changed.pt"
    torch.save({**content, **changes}, file)
    return file


def test_classes_are_matched_by_name(cnnrun: Command, run: Path) -> None:
    """A checkpoint whose classes come in another order scores what its own labels deserve."""
    backwards = [str(k) for k in reversed(range(10))]
    file = _change(run, classes=backwards)
    scores = _scores(cnnrun("eval", file, "--json"))
    assert scores["classes"] == backwards
    plain = _scores(cnnrun("eval", run, "--json"))
    confusion = torch.tensor(plain["confusion"])
    # The model still answers by position, so what was class 0 now answers to the name 9.
    assert scores["confusion"] == confusion.flip(0).tolist()


def test_classes_that_differ_are_refused_and_named(cnnrun: Command, run: Path) -> None:
    file = _change(run, classes=[*"012345678", "nine"])
    ended = cnnrun("eval", file)
    assert ended.code == 1
    assert "classes that the model was not trained on: 9" in ended.err


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model": {}}, "the weights do not fit the model; missing: features"),
        ({"input_shape": [1, 9, 9]}, "the data's images are 1 x 8 x 8, but the model was"),
        ({"format": 99}, "not a checkpoint of cnnrun"),
        ({"surplus": 1}, "not a whole checkpoint"),
        ({"config": {"name": "x", "model": "mlp"}}, "(config): dataset: this key is required"),
    ],
)
def test_checkpoints_that_do_not_fit(
    cnnrun: Command, run: Path, changes: dict[str, object], wanted: str
) -> None:
    ended = cnnrun("eval", _change(run, **changes))
    assert ended.code in (1, 2)
    assert wanted in ended.err
    assert "Traceback" not in ended.err


def test_what_is_no_checkpoint(cnnrun: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "cut.pt").write_bytes((run / "checkpoints" / "best.pt").read_bytes()[:2000])
    (tmp_path / "empty").mkdir()
    for target, wanted in (
        ("text.pt", "text.pt: not a readable checkpoint"),
        ("cut.pt", "cut.pt: not a readable checkpoint"),
        ("no.pt", "no.pt: there is no such run"),
        ("empty", "empty: not a run directory"),
        ("runs", f"the newest run below it is {run}"),
    ):
        ended = cnnrun("eval", target)
        assert ended.code == 1
        assert wanted in ended.err


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


def test_a_checkpoint_never_runs_code(cnnrun: Command, tmp_path: Path) -> None:
    torch.save({"format": 1, "model": _Evil()}, tmp_path / "evil.pt")
    ended = cnnrun("eval", "evil.pt")
    assert ended.code == 1
    assert "refused" in ended.err
    assert not (tmp_path / "pwned").exists()


def test_eval_options(cnnrun: Command, run: Path) -> None:
    assert "expected train, validation or test" in cnnrun("eval", run, "--split", "tset").err
    ended = cnnrun("eval", run, "device=cuda:7")
    assert ended.code == 1
    assert "device cuda:7: no such GPU here" in ended.err
    ended = cnnrun("eval", run, "dataset.roott=x")
    assert ended.code == 2
    assert "dataset.roott: unknown key" in ended.err


PLOTS = ("samples", "curves", "confusion", "mistakes", "filters", "features", "pixels")


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_of_a_run(cnnrun: Command, run: Path, plot: str) -> None:
    ended = cnnrun("viz", plot, run, "-o", "x.png")
    assert ended.code == 0, ended.err
    assert ended.out == "x.png\n"
    assert Image.open("x.png").format == "PNG"


def test_plots_of_a_config(cnnrun: Command, tiny: Path) -> None:
    assert cnnrun("viz", "samples", tiny, "-p", "count=7", "-p", "split=test").code == 0
    assert Path("samples.png").is_file()
    augmented = "dataset.augment=[rotation, brightness]"
    assert cnnrun("viz", "augmentations", tiny, augmented, "-o", "a.png").code == 0
    for arguments, code, wanted in (
        (("samples", tiny, "-p", "cuont=7"), 2, "cuont: unknown key; did you mean 'count'?"),
        (("samples", tiny, "-p", "split=tset"), 2, "did you mean 'test'?"),
        (("augmentations", tiny), 1, "this experiment has no augmentation"),
        (("confusion", tiny), 1, "needs a trained model"),
        (("filters", tiny), 1, "the model has no convolution"),
        (("curves", tiny), 1, "not a run directory"),
        (("pixels", tiny, "-p", "index=99999"), 1, "index 99999: the train split has images 0 to"),
        (("picasso", tiny), 2, "unknown plot 'picasso'"),
    ):
        ended = cnnrun("viz", *arguments)
        assert ended.code == code
        assert wanted in ended.err


def test_describe_of_a_config_a_run_and_a_checkpoint(
    cnnrun: Command, tiny: Path, run: Path
) -> None:
    ended = cnnrun("describe", tiny, "-o", "net.png")
    assert ended.code == 0, ended.err
    assert "parameters  2,410" in ended.out  # 64 * 32 + 32 + 32 * 10 + 10
    assert Image.open("net.png").format == "PNG"
    of_run = json.loads(cnnrun("describe", run, "--json").out)
    assert of_run == json.loads(cnnrun("describe", run / "checkpoints/best.pt", "--json").out)
    assert (
        of_run["totals"]["parameters"]
        == json.loads((run / "summary.json").read_text())["parameters"]
    )


def test_report_of_the_data(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("data", tiny, "-o", "data.png")
    assert ended.code == 0, ended.err
    assert "1,293" in ended.out
    assert Image.open("data.png").format == "PNG"
    assert json.loads(cnnrun("data", tiny, "--json").out)
