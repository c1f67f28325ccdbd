"""Two of SIGINT, SIGTERM and SIGHUP at any instant: right exit codes, whole files, equal bits."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from cnnrun.runs.checkpoint import Checkpoint
from tests.chaos.forking import Fork, Forks
from tests.chaos.runs import CONFIG, assert_same_end, write_config

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROUNDS = int(os.environ.get("CNNRUN_CHAOS_SIGNALS", "100"))
SHORT = CONFIG.replace("epochs: 3", "epochs: 1")
PHASES = ("start", "first files", "training", "writing", "last checkpoint")


class Signaller:
    """Trains in a folder, with two signals to each process, until the run has ended."""

    def __init__(self, forked: Forks, folder: Path, seed: int) -> None:
        self.forked, self.folder = forked, folder
        self.draw = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.config = write_config(folder, SHORT)
        self.whole = self._finish(self.config, "output=whole")

    def _start(self, *arguments: object) -> Fork:
        return self.forked.start(self.folder, "train", "-q", *arguments)

    def _finish(self, *arguments: object) -> Path:
        process = self._start(*arguments)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return self.folder / out.strip()

    def round(self, signals: tuple[int, int], phase: str) -> None:
        """One run: two signals, then on to its end."""
        for old in self.folder.glob("runs/chaos/*"):
            old.rename(self.folder / f"finished-{old.name}")
        process = self._start(self.config)
        self._wait(process, phase)
        for number in signals:
            process.send_signal(number)
            time.sleep(self.draw.choice([0.0, 0.0005, 0.005, 0.05]))
        out, err = process.communicate()
        self._check(process.returncode, signals, err)
        self.done[phase if process.returncode else "ended before"] += 1
        run = next(self.folder.glob("runs/chaos/*"), None)
        begun = run is not None and (run / "config.yaml").is_file()
        if run is not None and not begun:
            run.rename(self.folder / f"stillborn-{run.name}")
        if run is not None:
            self._check_files(run)
        ended = self._finish(*(["--resume", run] if begun else [self.config]))
        assert_same_end(ended, self.whole)
        del out

    def _wait(self, process: Fork, phase: str) -> None:
        if phase == "start":
            time.sleep(self.draw.uniform(0, 0.4))
            return
        pattern = {
            "first files": "runs/chaos/*",
            "training": "runs/chaos/*/checkpoints/last.pt",
            "writing": "runs/chaos/*/checkpoints/.*",
            "last checkpoint": "runs/chaos/*/checkpoints/best.pt",  # then it tests and draws
        }[phase]
        while process.poll() is None and not any(self.folder.glob(pattern)):
            time.sleep(0.0005)
        time.sleep(self.draw.uniform(0, {"writing": 0.003, "training": 0.3}.get(phase, 0.1)))

    def _check(self, code: int | None, signals: tuple[int, int], err: str) -> None:
        codes = {0, *(128 + number for number in signals), *(-number for number in signals)}
        assert code in codes, (code, signals, err)
        for word in ("Traceback", "a bug", "RuntimeError", "Exception ignored", "terminate called"):
            assert word not in err, (signals, err)

    def _check_files(self, run: Path) -> None:
        for file in (run / "checkpoints").glob("*"):
            assert file.suffix == ".pt", f"{file} is left"
            Checkpoint.load(file)


def test_two_signals(forked: Forks, tmp_path: Path) -> None:
    """One round in each phase; which signals, goes by turns."""
    signaller = Signaller(forked, tmp_path, 0)
    for at, phase in enumerate(PHASES):
        signaller.round((SIGNALS[at % 3], SIGNALS[(at + at // 3) % 3]), phase)


@pytest.mark.slow
def test_many_signals(forked: Forks, tmp_path: Path) -> None:
    signaller = Signaller(forked, tmp_path, 0)
    for _ in range(ROUNDS):
        first, second = (signaller.draw.choice(SIGNALS) for _ in "12")
        signaller.round((first, second), signaller.draw.choice(PHASES))
    print(dict(signaller.done))
    assert len(signaller.done) >= len(PHASES)
