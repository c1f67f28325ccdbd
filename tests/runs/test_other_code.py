"""Code of a user's own that changes after it trained: told wherever its weights are used again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from tests.conftest import Command
from tests.small_run import write_test_images

pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")

PLUGIN = """\
from cnnrun.plugin import models
from torch import nn

@models.register("edited")
class Mine(nn.Module):
    "A linear model."

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images):
        return self.layers(images)
"""
TOLD = "was trained with other code: mine.py changed since"


@pytest.fixture
def run(tmp_path: Path, cnnrun: Command) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "base.yaml").write_text(
        "dataset: {name: digits, batch_size: 64, limit: 128}\nmodel: edited\n"
        "optimizer: {name: sgd, lr: 0.1}\n"
        "plugins: [mine.py]\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "base.yaml", "-q")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def edit(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.replace("return self", "return 2 * self"))


COMMANDS = {
    "eval": ["eval", "RUN"],
    "predict": ["predict", "RUN", "images"],
    "viz": ["viz", "confusion", "RUN"],
    "export": ["export", "RUN", "--format", "safetensors"],
    "describe": ["describe", "RUN"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_other_code_than_that_which_trained_is_told(
    run: Path, tmp_path: Path, cnnrun: Command, command: str
) -> None:
    write_test_images(tmp_path / "images", 2)
    words = [str(run) if word == "RUN" else word for word in COMMANDS[command]]
    same = cnnrun(*words, "--plugin", "mine.py")
    assert (same.code, "other code" in same.err) == (0, False), same.err
    edit(tmp_path)
    ended = cnnrun(*words, "--plugin", "mine.py")
    assert ended.code == 0, ended.err
    assert ended.err.count(TOLD) == 1, ended.err
    for file in run.glob("checkpoints/*.pt"):  # of an older version
        held = torch.load(file, weights_only=True)
        del held["code"]
        torch.save(held, file)
    older = cnnrun(*words, "--plugin", "mine.py")
    assert (older.code, "other code" in older.err) == (0, False), older.err


def test_resuming_with_other_code_is_told_and_recorded_once(
    run: Path, tmp_path: Path, cnnrun: Command
) -> None:
    before = Checkpoint.load(run / "checkpoints/last.pt").code
    assert before
    assert set(before) == {"mine.py"}
    edit(tmp_path)
    ended = cnnrun("train", "--resume", run, "training.epochs=2", "-q")
    assert ended.code == 0, ended.err
    assert ended.err.count("changed  code: mine.py changed") == 1
    changes = {one["key"]: one for one in RunDirectory(run).read_changes()}
    assert set(changes) == {"code", "training.epochs"}
    assert changes["code"]["new"] == "mine.py changed"
    assert changes["code"]["epoch"] == 1
    assert Checkpoint.load(run / "checkpoints/last.pt").code != before

    again = cnnrun("train", "--resume", run, "training.epochs=3", "-q")
    assert (again.code, "code" in again.err) == (0, False), again.err
    noted = [one["key"] for one in RunDirectory(run).read_changes()]
    assert noted.count("code") == 1

    started = cnnrun("train", "base.yaml", "training.epochs=3", "--resume-or-start", "-q")
    assert started.code == 0, started.err
    assert Path(started.out.strip()) != run, "half of it was trained by other code"


def test_seeds_of_other_code_are_no_seeds_of_one_experiment(
    run: Path, tmp_path: Path, cnnrun: Command
) -> None:
    runs = [run]
    for seed in (1, 2, 3):
        if seed == 2:
            edit(tmp_path)
        ended = cnnrun("train", "base.yaml", f"seed={seed}", "-q")
        assert ended.code == 0, ended.err
        runs.append(Path(ended.out.strip()))
    ended = cnnrun("compare", *runs, "--json")
    assert ended.code == 0, ended.err
    groups = json.loads(ended.out)["groups"]
    assert sorted(len(group["runs"]) for group in groups) == [2, 2]
    shown = cnnrun("compare", *runs)
    assert "code.mine" in shown.out
    # Without a record of it, as older versions left none, nothing tells them apart.
    for one in runs:
        (one / "environment.json").unlink()
    ended = cnnrun("compare", *runs, "--json")
    assert [len(group["runs"]) for group in json.loads(ended.out)["groups"]] == [4]
