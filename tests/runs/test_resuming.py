"""Going on with a run whose settings changed, and jobs that are started again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.lock import alone_in, is_training
from tests.conftest import Command


@pytest.fixture
def run(cnnrun: Command, tiny: Path) -> Path:
    """A finished run of two epochs."""
    return Path(cnnrun("train", tiny, "-q", "training.draw=false").out.strip()).resolve()


def _rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_more_epochs_go_on_where_a_constant_rate_left_off(
    cnnrun: Command, tiny: Path, run: Path
) -> None:
    ended = cnnrun("train", "--resume", run, "training.epochs=4", "-q")
    assert ended.code == 0, ended.err
    assert "changed  training.epochs: 2 -> 4" in ended.err
    straight = Path(cnnrun("train", tiny, "-q", "training.epochs=4").out.strip())
    assert _rows(run) == _rows(straight)
    a, b = (torch.load(r / "checkpoints/last.pt", weights_only=True) for r in (run, straight))
    for key, value in a["model"].items():
        assert torch.equal(value, b["model"][key])
    # What was changed is kept: the run repeats as it is now.
    assert "epochs: 4" in (run / "config.yaml").read_text()
    assert json.loads((run / "summary.json").read_text())["epochs"] == 4


@pytest.mark.parametrize("optimizer", ["adam", "{name: sgd, momentum: 0.9}", "rmsprop", "adagrad"])
@pytest.mark.parametrize("first", ["true", "false"])
def test_another_order_in_memory_changes_no_step(
    cnnrun: Command, tiny: Path, optimizer: str, first: str
) -> None:
    """Moments are matched with weights whose numbers lie in another order in memory."""
    changes = ("model={name: cnn, channels: [6, 4]}", f"optimizer={optimizer}", "dataset.limit=300")
    options = ("training.draw=false", "-q")
    layout = f"training.channels_last={first}"
    run = cnnrun("train", tiny, *changes, layout, "training.epochs=1", *options).out.strip()
    other = {"true": "false", "false": "true"}[first]
    changed = f"training.channels_last={other}"
    ended = cnnrun("train", "--resume", run, "training.epochs=2", changed, "-q")
    assert ended.code == 0, ended.err
    straight = cnnrun("train", tiny, *changes, layout, "training.epochs=2", *options).out.strip()
    for row, expected in zip(_rows(Path(run)), _rows(Path(straight)), strict=True):
        assert row == pytest.approx(expected, rel=1e-3)


def test_another_rate_and_schedule_are_applied_and_told(cnnrun: Command, run: Path) -> None:
    ended = cnnrun("train", "--resume", run, "training.epochs=4", "optimizer.lr=0.05",
                   "schedule=cosine", "-q")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "changed  optimizer.lr: 0.1 -> 0.05" in ended.err
    assert (
        "the cosine schedule is that of 4 epochs from here on: the learning rate continues at "
        in (ended.err)
    )
    rows = _rows(run)
    assert rows[1]["lr"] == 0.1
    assert 0.02 < rows[2]["lr"] < 0.05
    # Momentum and the like are those of the new optimizer section, too.
    group = torch.load(run / "checkpoints/last.pt", weights_only=True)["optimizer"]["param_groups"]
    assert group[0]["initial_lr"] == 0.05


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("optimizer={name: adam, lr: 0.1}", "optimizer.name: sgd -> adam"),
        ("model.hidden=[16]", "model.hidden: [32] -> [16]"),
        ("dataset.batch_size=32", "dataset.batch_size: 64 -> 32"),
        ("seed=1", "seed: 0 -> 1"),
        ("dataset.limit=100", "dataset.limit: None -> 100"),
    ],
)
def test_what_a_run_can_not_go_on_with_is_named(
    cnnrun: Command, run: Path, change: str, told: str
) -> None:
    before = (run / "config.yaml").read_bytes()
    ended = cnnrun("train", "--resume", run, "training.epochs=4", change)
    assert ended.code == 2
    assert told in ended.err
    assert "start a new one: cnnrun train" in ended.err
    assert (run / "config.yaml").read_bytes() == before
    assert (run / "summary.json").is_file()


def _folder(tmp_path: Path, classes: dict[str, int]) -> Path:
    from PIL import Image

    for split in ("train", "test"):
        for k, (name, count) in enumerate(classes.items()):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (20 * i, 100 * k, 50)).save(folder / f"{i}.png")
    return tmp_path / "images"


def test_data_that_changed_are_refused_and_data_that_moved_are_not(
    cnnrun: Command, tmp_path: Path
) -> None:
    root = _folder(tmp_path, {"cat": 6, "dog": 6})
    file = tmp_path / "folder.yaml"
    file.write_text(
        f"dataset: {{name: folder, root: {root}, batch_size: 4, validation: 0}}\n"
        "model: {name: mlp, hidden: [8]}\ntraining: {epochs: 2, draw: false}\n"
    )
    run = Path(cnnrun("train", file, "-q").out.strip()).resolve()
    moved = tmp_path / "moved"
    shutil.move(root, moved)
    ended = cnnrun("train", "--resume", run, f"dataset.root={moved}", "training.epochs=3", "-q")
    assert ended.code == 0, ended.err
    assert f"changed  dataset.root: {root} -> {moved}" in ended.err

    (moved / "train" / "dog" / "0.png").unlink()
    ended = cnnrun("train", "--resume", run, "training.epochs=4")
    assert ended.code == 1
    assert "class 'dog' has 5 images instead of 6" in ended.err

    shutil.copytree(moved / "train" / "cat", moved / "train" / "emu")
    shutil.copytree(moved / "test" / "cat", moved / "test" / "emu")
    ended = cnnrun("train", "--resume", run, "training.epochs=4")
    assert ended.code == 1
    assert "the run started with 2 classes (cat, dog)" in ended.err
    assert "3 (cat, dog, emu)" in ended.err


def test_a_job_that_is_started_again_goes_on(cnnrun: Command, tiny: Path) -> None:
    again = ("train", tiny, "--resume-or-start", "-q", "training.draw=false")
    first = cnnrun(*again).out.strip()
    assert cnnrun(*again).out.strip() == first, "finished: nothing is trained again"
    other = cnnrun(*again, "optimizer.lr=0.2").out.strip()
    assert other != first

    run = Path(first)
    (run / "summary.json").unlink()
    assert cnnrun(*again).out.strip() == first, "unfinished: the same run goes on"
    assert (run / "summary.json").is_file()
    assert len(list(run.parent.iterdir())) == 2
    # Runs that can't be read are no obstacle.
    broken = run.parent / "99999999-broken"
    broken.mkdir()
    (broken / "config.yaml").write_text("{")
    assert cnnrun(*again).out.strip() == first


def test_two_processes_never_train_one_run(cnnrun: Command, run: Path) -> None:
    (run / "summary.json").unlink()
    with alone_in(RunDirectory(run)):
        ended = cnnrun("train", "--resume", run)
        assert is_training(run)
    assert not is_training(run)
    assert (ended.code, "another process is training" in ended.err) == (1, True)
    assert cnnrun("train", "--resume", run, "-q").code == 0


@pytest.mark.slow
def test_patience_counts_anew_when_it_changes(cnnrun: Command, tiny: Path) -> None:
    stopped = Path(cnnrun("train", tiny, "-q", "training.epochs=40", "training.patience=1",
                          "training.monitor=loss", "optimizer.lr=0.5").out.strip())  # fmt: skip
    epochs = json.loads((stopped / "summary.json").read_text())["epochs"]
    assert epochs < 40
    ended = cnnrun("train", "--resume", stopped, "training.epochs=50", "-q")
    assert ended.code == 1
    assert "nothing was changed. A longer training.patience trains further" in ended.err
    ended = cnnrun("train", "--resume", stopped, "training.patience=100", "-q")
    assert ended.code == 0, ended.err
    assert json.loads((stopped / "summary.json").read_text())["epochs"] == 40


OTHERS = [
    "optimizer={name: adam, lr: 0.01}",
    "optimizer={name: adamw, lr: 0.01}",
    "optimizer={name: rmsprop, lr: 0.001, momentum: 0.9, centered: true}",
    "optimizer={name: adagrad, lr: 0.01}",
    "optimizer={name: sgd, lr: 0.1, nesterov: true, momentum: 0.9, weight_decay: 0.01, "
    "decoupled: true}",
    "optimizer={name: lbfgs, max_iter: 3, history: 3, line_search: false}",
    "schedule={name: plateau, patience: 0}",
    "schedule={name: one_cycle}",
    "schedule={name: multistep, milestones: [1, 2], warmup_epochs: 0.5}",
    "dataset.augment=[{name: cutmix}, {name: rotation}]",
]


@pytest.mark.parametrize("change", OTHERS)
def test_a_killed_run_ends_at_the_same_bits_whatever_trains_it(
    tiny: Path, killed_and_resumed: Callable[..., tuple[Path, Path]], change: str
) -> None:
    small = ("dataset.limit=300", "training.epochs=3", "training.draw=false")
    ours, theirs = (
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)
        for run in killed_and_resumed(7, tiny, change, *small)
    )
    assert all(torch.equal(value, theirs["model"][key]) for key, value in ours["model"].items())
    assert ours["schedule"] == theirs["schedule"]
