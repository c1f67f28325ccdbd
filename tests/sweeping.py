"""What the tests of sweeps share: a sweep whose runs take no time, and what it left."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnrun.config.experiment import load as load_experiment
from cnnrun.multirun.launcher import workers
from cnnrun.multirun.sweep import sweep
from tests import quick_train
from tests.conftest import HANGS, REPOSITORY
from tests.forking import Forked, fork_runs

STUB = [sys.executable, str(REPOSITORY / "tests" / "quick_train.py")]


class QuickTrain(Forked):
    """The stub as a fork: what it imports is there already."""

    program = staticmethod(lambda command: quick_train.main(command[len(STUB) :]))


def train_quickly(patch: pytest.MonkeyPatch) -> None:
    """Let `Workers` run the stub from now on."""
    patch.setattr(workers, "PROGRAM", list(STUB))
    patch.setattr(workers, "POLL_SECONDS", 0.02)
    fork_runs(patch, QuickTrain)


GRID = "grid: {optimizer.lr: [0.1, 0.4, 0.2, 0.3]}\nseeds: 2\n"


class QuickSweep:
    """A sweep in `folder` whose trials the stub trains."""

    def __init__(self, folder: Path, tiny: Path, text: str = GRID) -> None:
        self.folder = folder
        # Complete, so that the stub writes the very config that `cnnrun train` would.
        (folder / "base.yaml").write_text(load_experiment(tiny, ["training.epochs=3"]).to_yaml())
        self.file = folder / "quick.yaml"
        self.write(text)

    def write(self, text: str) -> None:
        self.file.write_text("base: base.yaml\n" + text)

    @property
    def sweep_folder(self) -> Path:
        return self.folder / "sweeps" / "quick"

    def starts(self) -> list[str]:
        """`lr seed` of every run that was begun; `--resume` starts apart."""
        file = self.folder / "starts"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [line.rpartition(" ")[0] for line in lines if not line.endswith("--resume")]

    def resumed(self) -> int:
        return (self.folder / "starts").read_text().count("--resume")

    def assert_each_once(self, count: int) -> None:
        """Every run was begun once and has finished."""
        assert max(Counter(self.starts()).values()) == 1, Counter(self.starts())
        summaries = list(self.sweep_folder.glob("runs/*/*/summary.json"))
        assert len(self.starts()) == len(summaries) == count


def apart(function: Any, *arguments: Any, **environment: str) -> multiprocessing.Process:
    """Run `function` in a process of its own, without importing everything once more."""

    def run() -> None:
        os.environ.update(environment)
        train_quickly(pytest.MonkeyPatch())
        try:
            function(*arguments)
        except BaseException:
            # The parent's `capsys` has taken this process's stderr.
            os.write(2, traceback.format_exc().encode())
            raise

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process  # type: ignore[return-value]


def wait_until(what: Callable[[], object], seconds: float = HANGS) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def join(place: str, folder: Path, options: sweep.LaunchOptions) -> None:
    os.chdir(folder)
    sweep.join(place, None, options)


def trials_of(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["trials"]
    return found
