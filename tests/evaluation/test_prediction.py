"""`cnnrun predict`: the answers of `eval`, for files; what can't be read is told."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.components.tasks.metrics import softmax
from cnnrun.errors import UserError
from cnnrun.evaluation import scoring as evaluation
from cnnrun.evaluation.loading import open_checkpoint, open_trained
from tests.conftest import Command
from tests.small_run import small_run, write_test_images

__all__ = ["small_run"]


def test_an_image_has_the_probabilities_that_eval_gives_it(
    cnnrun: Command, small_run: Path
) -> None:
    write_test_images(Path("images"), 40)
    ended = cnnrun("predict", small_run, "images", "--json", "--top", 10)
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)["predictions"]
    assert [Path(row["file"]).name for row in rows] == [f"{n:03}.png" for n in range(40)]
    _, parts, _ = open_checkpoint(small_run)
    wanted = softmax(evaluation.predict(parts, "test").answers["outputs"])[:40]
    found = np.array([[dict(_pairs(row))[name] for name in "0123456789"] for row in rows])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert [row["class"] for row in rows] == [str(k) for k in wanted.argmax(1)]
    assert all(row["probability"] == max(s for _, s in _pairs(row)) for row in rows)


def _pairs(row: dict) -> list[tuple[str, float]]:
    return [(each["class"], each["probability"]) for each in row["top"]]


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_images_are_brought_to_the_form_of_training(
    cnnrun: Command, tmp_path: Path, resize: str
) -> None:
    """Colour images of another shape, by the data set's own way and normalization."""
    random = np.random.default_rng(0)
    for number in range(24):
        kind, pixels = number % 2, random.integers(0, 128, (20, 31, 3), dtype=np.uint8)
        pixels[:, :, kind] += 100
        file = tmp_path / "data" / "ab"[kind] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    (tmp_path / "x.yaml").write_text(
        f"dataset: {{name: folder, root: data, size: [12, 16], resize: {resize}, test: 8}}\n"
        "model: {name: mlp, hidden: [8]}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    run = cnnrun("train", "x.yaml", "-q", "dataset.validation=0").out.strip()
    _, parts, _ = open_checkpoint(Path(run))
    wanted = softmax(evaluation.predict(parts, "test").answers["outputs"])
    files = parts.dataset.test.images.files.paths  # type: ignore[attr-defined]
    shutil.copytree("data", "moved")
    shutil.rmtree("data")  # predicting needs no data set
    moved = [file.replace("data", "moved", 1) for file in map(str, files)]
    ended = cnnrun("predict", run, *moved, "--json", "--top", 2)
    rows = json.loads(ended.out)["predictions"]
    found = np.array([[dict(_pairs(row))[name] for name in "ab"] for row in rows])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_bad_files_are_told_and_passed_over(cnnrun: Command, small_run: Path) -> None:
    write_test_images(Path("images"), 3)
    Path("images/001.png").write_bytes(b"\x89PNG and no more")
    ended = cnnrun("predict", small_run, "images", "none.png", "--top", 1, "--batch-size", 2)
    assert ended.code == 0
    assert [line.split(":")[0] for line in ended.out.splitlines()] == [
        "images/000.png",
        "images/002.png",
    ]
    assert "images/001.png: " in ended.err
    assert "none.png: No such file" in ended.err
    alone = cnnrun("predict", small_run, "images/001.png", "--json")
    assert alone.code == 1
    assert "none of 1 files" in alone.err
    found = json.loads(alone.out)
    assert found["predictions"] == []
    assert [bad["file"] for bad in found["bad"]] == ["images/001.png"]


def test_paths_come_from_patterns_and_stdin(
    cnnrun: Command, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_test_images(Path("images/deep"), 4)
    monkeypatch.setattr(sys, "stdin", io.StringIO("images/deep/003.png\n\n"))
    ended = cnnrun("predict", small_run, "images/**/00[01].png", "-", "--csv", "--top", 2)
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    files = [f"images/deep/00{n}.png" for n in (0, 0, 1, 1, 3, 3)]
    assert [row["file"] for row in rows] == files
    assert [row["rank"] for row in rows] == ["1", "2"] * 3
    assert all(
        float(a["probability"]) >= float(b["probability"])
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    )


def test_gradcam_draws_a_plot_for_each(cnnrun: Command, small_run: Path) -> None:
    write_test_images(Path("a"), 2)
    write_test_images(Path("b"), 1)
    ended = cnnrun("predict", small_run, "a", "b", "--gradcam", "maps", "--json")
    assert ended.code == 0, ended.err
    written = [Path(row["gradcam"]) for row in json.loads(ended.out)["predictions"]]
    assert [file.name for file in written] == ["000.png", "001.png", "000-2.png"]
    for file in written:
        with Image.open(file) as image:
            assert image.width > 300


def test_what_can_not_predict_says_so(cnnrun: Command, small_run: Path, tmp_path: Path) -> None:
    assert cnnrun("predict", small_run, "x.png", "--json", "--csv").code == 2
    assert "no such run" in cnnrun("predict", "nowhere", "x.png").err
    (tmp_path / "ae.yaml").write_text(
        "task: reconstruct\ndataset: digits\nmodel: {name: linear_autoencoder, code: 4}\n"
        "device: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    run = cnnrun("train", "ae.yaml", "-q").out.strip()
    write_test_images(Path("images"), 1)
    ended = cnnrun("predict", run, "images")
    assert ended.code == 1
    assert "task reconstruct gives no classes" in ended.err


def test_a_checkpoint_never_chooses_which_code_runs(small_run: Path, tmp_path: Path) -> None:
    content = torch.load(small_run / "checkpoints" / "best.pt", weights_only=True)
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    content["config"]["plugins"] = [str(tmp_path / "evil.py")]
    torch.save(content, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"--plugin .*evil\.py"):
        open_trained(tmp_path / "evil.pt")


def test_a_runs_own_plots_are_not_predicted(
    cnnrun: Command, small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "work" / "runs" / "x"
    shutil.copytree(small_run, run)
    write_test_images(run / "plots", 2)
    for place in (run, run / "plots"):
        ended = cnnrun("predict", run, place)
        assert ended.code == 1
        assert "its own plots; name the folder" in ended.err
    write_test_images(tmp_path / "work" / "new", 3)
    ended = cnnrun("predict", run, tmp_path / "work")
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 3
    assert "2 plots of runs are skipped" in ended.err
    assert len(cnnrun("predict", run, run / "plots" / "000.png").out.splitlines()) == 1
    for place in (run, run / "plots", run.parent, run.parent.parent):
        ended = cnnrun("train", "digits_cnn", f"dataset={{name: folder, root: {place}, size: 8}}")
        assert ended.code == 1
        assert "its own plots; name the folder of the images to train on" in ended.err


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_stdin_may_have_zero_bytes_between_paths_but_no_image(
    cnnrun: Command, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_test_images(tmp_path, 2)
    monkeypatch.setattr(sys, "stdin", _Stdin(b"000.png\x00001.png\x00"))
    assert len(cnnrun("predict", small_run, "-").out.splitlines()) == 2
    monkeypatch.setattr(sys, "stdin", _Stdin((tmp_path / "000.png").read_bytes()))
    ended = cnnrun("predict", small_run, "-")
    assert ended.code == 2
    assert "stdin holds an image, not paths" in ended.err
    for content in (b"x" * 5000, b"a\x00\xff\xfe", b"~nobody-here/x.png"):
        monkeypatch.setattr(sys, "stdin", _Stdin(content))
        ended = cnnrun("predict", small_run, "-")
        assert ended.code == 1
        assert "bug" not in ended.err
