"""What went wrong for people while they trained with other tools, as users of this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import Command


def _add(root: Path, split: str, kind: str, count: int) -> None:
    """Noise with the class's colour."""
    random = np.random.default_rng(count)
    folder = root / split / kind
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = random.integers(0, 81, (32, 32, 3)).astype(np.uint8)
        pixels[..., ("cat", "ant", "dog").index(kind)] += 150
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Folders of cats and dogs, eight cats and one dog to evaluate on."""
    root = tmp_path / "D"
    for split, cats, dogs in (("train", 9, 8), ("val", 8, 1)):
        _add(root, split, "cat", cats)
        _add(root, split, "dog", dogs)
    (tmp_path / "base.yaml").write_text(
        f"dataset: {{name: folder, root: '{root}', batch_size: 8, cache_dir: '{tmp_path}/cache'}}\n"
        "model: {name: cnn, channels: [8, 8], batch_norm: true}\n"
        "optimizer: {name: sgd, lr: 0.01}\n"
        "device: cpu\n"
        "training: {epochs: 2, draw: false}\n"
    )
    return tmp_path / "base.yaml"


def _run(cnnrun: Command, *arguments: object) -> Path:
    ended = cnnrun("train", "-q", *arguments)
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_last_batch_of_one_with_maps_of_one_pixel(cnnrun: Command, base: Path) -> None:
    """17 images of 32x32: the last maps of resnet18 are 1x1, so one image has no variance."""
    small = ("model=torchvision/resnet18", "dataset.validation=0", "training.epochs=1")
    run = _run(cnnrun, base, *small, "dataset.batch_size=16")
    assert np.isfinite(_rows(run)[0]["train_loss"])
    assert cnnrun("eval", run, "--batch-size", 1).code == 0
    ended = cnnrun("check", base, *small, "dataset.batch_size=1")
    assert ended.code == 2
    assert (
        "dataset.batch_size: batch normalization needs at least two values per channel" in ended.err
    )


def test_the_number_of_classes_is_that_of_the_data(
    cnnrun: Command, base: Path, tmp_path: Path
) -> None:
    """There is no number to write wrongly; weights for another number are refused by it."""
    for key in ("num_classes", "classes"):
        ended = cnnrun("train", base, f"model.{key}=2")
        assert ended.code == 2
        assert f"model.{key}: unknown key" in ended.err
    run = _run(cnnrun, base, "training.epochs=1")
    for split in ("train", "val"):
        _add(tmp_path / "D", split, "ant", 8)
    (run / "summary.json").unlink()
    ended = cnnrun("train", "--resume", run)
    assert ended.code == 1
    assert (
        "the run started with 2 classes (cat, dog); the data now have 3 (ant, cat, d" in ended.err
    )


def test_means_are_over_samples(cnnrun: Command, base: Path) -> None:
    """Eight cats and one dog: a mean of the means of batches gives the dog more than a ninth."""
    run = _run(cnnrun, base, "loss={name: cross_entropy, weight: [1, 5]}")
    scores = []
    for batch in (1, 2, 4, 8, 9):
        ended = cnnrun("eval", run, "--json", "--batch-size", batch)
        assert ended.code == 0, ended.err
        scores.append(json.loads(ended.out))
    for key in ("accuracy", "macro_f1"):
        assert len({score[key] for score in scores}) == 1
    assert scores[0]["accuracy"] * 9 == pytest.approx(round(scores[0]["accuracy"] * 9))
    assert [score["loss"] for score in scores] == pytest.approx([scores[0]["loss"]] * 5, rel=1e-6)


def test_a_rate_that_is_far_too_high(cnnrun: Command, base: Path) -> None:
    run = _run(cnnrun, base)
    best = (run / "checkpoints" / "best.pt").read_bytes()
    absurd = ("optimizer.lr=1e30", "training.epochs=7", "training.draw=true")
    ended = cnnrun("train", "--resume", run, *absurd)
    assert ended.code == 1
    assert "the loss is " in ended.err
    assert "learning rate 1e+30" in ended.err
    assert (run / "checkpoints" / "best.pt").read_bytes() == best
    for name in ("best", "last"):
        weights = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["model"]
        assert all(w.isfinite().all() for w in weights.values())
    assert all(v is not None and np.isfinite(v) for row in _rows(run) for v in row.values())
    assert (run / "plots" / "curves.png").stat().st_size > 0


def test_a_standard_deviation_of_zero(cnnrun: Command, base: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "D").rglob("*.png"):
        Image.new("RGB", (32, 32), (90, 90, 90)).save(file)
    run = _run(cnnrun, base)
    assert all(np.isfinite(row["train_loss"]) for row in _rows(run))
    ended = cnnrun("train", base, "dataset.normalize={mean: [0, 0, 0], std: [1, 0, 1]}")
    assert ended.code == 2
    assert "dataset.normalize.std" in ended.err


@pytest.mark.parametrize(
    ("schedule", "epochs", "wanted"),
    [
        ("{name: step, epochs: 2, gamma: 0.1}", 5, [1, 1, 0.1, 0.1, 0.01]),
        ("{name: multistep, milestones: [1, 3], gamma: 0.5}", 4, [1, 0.5, 0.5, 0.25]),
        ("{name: constant, warmup_epochs: 3}", 6, [1 / 63, 22 / 63, 43 / 63, 1, 1, 1]),
    ],
)
def test_schedules_begin_with_their_first_value_and_use_it_once(
    cnnrun: Command, tiny: Path, schedule: str, epochs: int, wanted: list[float]
) -> None:
    """The column lr is the rate of an epoch's first step; an epoch has 21 steps."""
    run = _run(cnnrun, tiny, f"schedule={schedule}", f"training.epochs={epochs}")
    assert [row["step"] for row in _rows(run)] == [21 * (i + 1) for i in range(epochs)]
    assert [row["lr"] for row in _rows(run)] == pytest.approx([0.1 * w for w in wanted])


@pytest.mark.parametrize(
    ("transfer", "wanted"),
    [
        ("{freeze: all}", "transfer.freeze: nothing to train"),
        ("{freeze: ['*']}", "transfer.freeze"),
        ("{freeze: nothing.like.it}", "freeze: 'nothing.like.it' matches no parameter"),
    ],
)
def test_what_is_frozen_must_leave_something(
    cnnrun: Command, tiny: Path, transfer: str, wanted: str
) -> None:
    ended = cnnrun("train", tiny, f"transfer={transfer}")
    assert ended.code == 2
    assert wanted in ended.err


def test_what_is_frozen_in_part_says_how_much_trains(cnnrun: Command, tiny: Path) -> None:
    run = _run(cnnrun, tiny, "name=source")
    ended = cnnrun("train", tiny, f"transfer={{weights: {run}, freeze: features}}")
    assert ended.code == 0, ended.err
    assert "330 of 2,410 parameters train" in ended.err  # 32 x 10 + 10 of the head


@pytest.mark.slow
def test_random_weights_of_torchvision_warn_of_nothing(tiny: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "cnnrun", "check", tiny.name,
         "model=torchvision/resnet18", "dataset.size=32"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_trained_weights_without_a_network(
    cnnrun: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for model in ("model={name: torchvision/resnet18, weights: DEFAULT}",
                  "model={name: torchvision/resnet18, weights: IMAGENET1K_V1}"):  # fmt: skip
        ended = cnnrun("check", tiny, model)
        assert ended.code == 1, "no mistake of the config"
        assert "could not fetch the trained weights" in ended.err
        assert "Traceback" not in ended.err
    assert not [file for file in (tmp_path / "torch").rglob("*") if file.is_file()]
