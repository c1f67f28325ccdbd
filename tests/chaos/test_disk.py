"""A disk that fails at the n-th operation: no good checkpoint is lost, one message says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from cnnrun.config import experiment as config
from cnnrun.engine.trainer import Trainer
from cnnrun.runner import finishing
from cnnrun.runs.checkpoint import Checkpoint
from tests.chaos.faulty_disk import FAULTS, FaultyDisk
from tests.chaos.runs import assert_same_end
from tests.conftest import Command, Result, some

CONFIG = """\
dataset: {name: digits, limit: 40, batch_size: 20, validation: 10}
model: {name: mlp, hidden: [50]}
optimizer: {name: sgd, momentum: 0.9}
device: cpu
training: {epochs: 2, draw: false, checkpoint_every: 1 steps}
"""


@dataclass
class Trials:
    """Trains and goes on in this process, on disks that fail."""

    cnnrun: Command
    folder: Path

    def train(self, disk: FaultyDisk, *arguments: object) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            disk.attach(patch)
            return self.cnnrun("train", "-q", *arguments)

    def whole(self) -> tuple[Path, int]:
        """A run on a good disk, moved out of the way, and its operations."""
        good = FaultyDisk(self.folder / "whole")
        ended = self.train(good, "x.yaml", "output=whole")
        assert ended.code == 0, ended.err
        assert good.operations > 60
        return Path(ended.out.strip()).rename(self.folder / "good"), good.operations

    def fails_at(self, operation: int, fault: str, whole: Path) -> None:
        """The promises, for one operation with a fault."""
        what = f"operation {operation}, {fault}"
        disk = FaultyDisk(self.folder / "failed", operation, fault)
        ended = self.train(disk, "x.yaml", "output=failed")
        if ended.code == 0:  # a short write whose rest found room: the system tells, Python goes on
            assert (fault, disk.operations) == ("short", operation), what
            shutil.rmtree(self.folder / "failed")
            return
        self._check_message(ended, fault, what)
        for file, content in disk.replaced.items():
            if file.suffix == ".pt":
                assert file.read_bytes() == content, f"{what}: {file}"
        begun = list((self.folder / "failed").glob("*/*"))
        for directory in begun:
            self._check_directory(directory, whole, what)
        shutil.rmtree(self.folder / "failed", ignore_errors=True)

    def _check_message(self, ended: Result, fault: str, what: str) -> None:
        assert ended.code == 1, f"{what}: {ended.err}"
        assert ended.err.count("\n") == 1, f"{what}: {ended.err}"
        assert os.strerror(FAULTS[fault]) in ended.err, f"{what}: {ended.err}"
        assert "a bug" not in ended.err, f"{what}: {ended.err}"

    def _check_directory(self, directory: Path, whole: Path, what: str) -> None:
        for file in (directory / "checkpoints").glob("*"):
            assert file.suffix == ".pt", f"{what}: {file} is left"
            Checkpoint.load(file)
        ended = self.cnnrun("train", "-q", "--resume", directory)
        if (directory / "config.yaml").is_file():
            assert ended.code == 0, f"{what}: {ended.err}"
            assert_same_end(directory, whole)
        else:  # it never began
            assert "not a run directory (no config.yaml in it)" in ended.err, what


@pytest.fixture
def trials(cnnrun: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trials:
    (tmp_path / "x.yaml").write_text(CONFIG)
    # A hundred runs in seconds: the schema is always the same, and plots are not the point.
    monkeypatch.setattr(config, "experiment_model", cache(config.experiment_model))
    monkeypatch.setattr(finishing, "draw_plots", lambda *_: None)
    return Trials(cnnrun, tmp_path)


@pytest.mark.slow
def test_a_failing_disk_costs_no_good_checkpoint(trials: Trials) -> None:
    whole, operations = trials.whole()
    for operation in [1, 2, 3, 4, 5, *range(6, operations - 3, 9), operations - 1, operations]:
        trials.fails_at(operation, [*FAULTS][operation % 3], whole)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_fails_at_any_operation(trials: Trials, fault: str) -> None:
    whole, operations = trials.whole()
    for operation in some(range(1, operations + 1), 8):
        trials.fails_at(operation, fault, whole)


def _after_step(monkeypatch: pytest.MonkeyPatch, step: int, then: Callable[[Path], object]) -> None:
    """Do something to the run directory once so many steps are done."""
    train_step = Trainer.train_step

    def stepped(self: Trainer, *batch: object) -> None:
        train_step(self, *batch)  # type: ignore[arg-type]
        if self.progress.step == step:
            then(self.run.path)

    monkeypatch.setattr(Trainer, "train_step", stepped)


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("folder", [".", "checkpoints"])
def test_a_run_directory_that_is_deleted_while_it_trains(
    trials: Trials, monkeypatch: pytest.MonkeyPatch, step: int, folder: str
) -> None:
    removed = []
    _after_step(monkeypatch, step, lambda run: removed.append(run / folder))
    _after_step(monkeypatch, step, lambda run: shutil.rmtree(run / folder))
    ended = trials.cnnrun("train", "-q", "x.yaml")
    assert ended.code == 1
    assert ended.err == f"error: {removed[0]}: was removed during training\n"


@pytest.mark.parametrize("what", ["output=/proc/runs", "output=x.yaml", "output=x.yaml/runs"])
def test_an_output_that_is_no_place_for_a_run(trials: Trials, what: str) -> None:
    ended = trials.cnnrun("train", "-q", "x.yaml", what)
    assert ended.code == 1
    assert ended.err.startswith("error: output: ")
    assert what.partition("=")[2] in ended.err
    assert ended.err.count("\n") == 1
