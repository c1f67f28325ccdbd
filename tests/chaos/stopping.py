"""Runs that are killed and signalled at any instant, and gone on with to their ends.

The ends are compared, bit by bit, with that of a run that was never stopped.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cnnrun.runs.checkpoint import Checkpoint
from tests.chaos.bounded import Outcome
from tests.chaos.runs import CONFIG, assert_same_end, write_config
from tests.conftest import HANGS
from tests.quick_fork import Fork
from tests.quick_shell import quick_cnnrun

PHASES = ("start", "first files", "training", "writing", "last checkpoint")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Process = subprocess.Popen[str] | Fork

# One of each kind of state that a run carries.
CONFIGS = {
    "sgd, cosine, augmented": CONFIG,
    "adam, average, mixup, plateau": """\
dataset: {name: digits, batch_size: 64, augment: [mixup, erasing]}
model: {name: cnn, channels: [8, 16], batch_norm: true}
optimizer: {name: adam, lr: 0.003}
schedule: {name: plateau, patience: 0}
device: cpu
training: {epochs: 3, checkpoint_every: 1 steps, ema: 0.9, accumulate: 2, clip_norm: 1}
""",
    "autoencoder with noise": """\
task: {name: reconstruct, noise: 0.2}
dataset: {name: digits, batch_size: 64}
model: {name: linear_autoencoder, code: 8}
loss: mse
optimizer: {name: rmsprop, lr: 0.001}
schedule: {name: one_cycle}
device: cpu
training: {epochs: 3, checkpoint_every: 2 steps, amp: bf16}
""",
}


def short(config: str) -> str:
    """The config, with one epoch and no drawing."""
    return config.replace("epochs: 3", "epochs: 1, draw: false")


class LostError(AssertionError):
    """A run can't be gone on with."""


class Stopper:
    """Trains and stops in a folder, with processes that `command` starts."""

    def __init__(self, folder: Path, command: Callable[..., Process], config: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.command = folder, command
        self.config = write_config(folder, config)
        self.whole = self.finish(self.config, "output=whole")

    def finish(self, *arguments: object) -> Path:
        process = self.command(*arguments)
        out, err = process.communicate(timeout=HANGS)
        if process.returncode:
            raise LostError(f"{arguments}: exit code {process.returncode}: {err}")
        return self.folder / out.strip()

    def stop_and_compare(self, stops: int, draw: random.Random, kills: float = 0.6) -> list[str]:
        """Stop one run so often, unless it ends before; finish and compare it. What was done.

        kills: how many of the stops are by SIGKILL; others are one or two of `SIGNALS`.
        """
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        done: list[str] = []
        run = None
        for _ in range(stops):
            process = self.command(*(["--resume", run] if run else [self.config]))
            if draw.random() < kills:
                signals = [signal.SIGKILL]
            else:
                signals = draw.choices(SIGNALS, k=draw.choice([1, 2]))
            phase = draw.choice(PHASES)
            self._wait(process, phase, draw)
            for number in signals:
                process.send_signal(number)
                if len(signals) > 1:
                    time.sleep(draw.choice([0.0, 0.0005, 0.005, 0.05]))
            _, err = process.communicate(timeout=HANGS)
            self._check(process.returncode, signals, err)
            names = " and ".join(signal.Signals(number).name for number in signals)
            done.append(f"{names}, {phase}" if process.returncode else "ended before")
            run = self._begun()
            if not process.returncode:
                break
        assert_same_end(self.finish(*(["--resume", run] if run else [self.config])), self.whole)
        return done

    def _wait(self, process: Process, phase: str, draw: random.Random) -> None:
        """Until the phase, and for some of it."""
        if phase == "start":
            time.sleep(draw.uniform(0, 0.4))
            return
        known = set(self.folder.glob("runs/chaos/*/checkpoints/.*"))
        pattern = {
            "first files": "runs/chaos/*",
            "training": "runs/chaos/*/checkpoints/last.pt",
            "writing": "runs/chaos/*/checkpoints/.*",
            "last checkpoint": "runs/chaos/*/checkpoints/best.pt",  # then it tests
        }[phase]
        while process.poll() is None and not set(self.folder.glob(pattern)) - known:
            time.sleep(0.0003)
        time.sleep(draw.uniform(0, {"writing": 0.005, "training": 0.3}.get(phase, 0.1)))

    def _check(self, code: int | None, signals: list[signal.Signals], err: str) -> None:
        codes = {0, *(128 + number for number in signals), *(-number for number in signals)}
        assert code in codes, (code, signals, err)
        for word in ("Traceback", "a bug", "RuntimeError", "Exception ignored", "terminate called"):
            assert word not in err, (signals, err)

    def _begun(self) -> Path | None:
        """The run, if it can be gone on with; its checkpoints are whole at any time."""
        run = next(self.folder.glob("runs/chaos/*"), None)
        if run is None:
            return None
        for file in (run / "checkpoints").glob("*.pt"):
            Checkpoint.load(file)
        if (run / "config.yaml").is_file():
            return run
        refused = self.command("--resume", run)
        assert "not a run directory (no config.yaml" in refused.communicate(timeout=HANGS)[1]
        assert refused.returncode == 1
        shutil.rmtree(run)
        return None


def stopped_runs(numbers: range, work: Path) -> Iterator[Outcome]:
    """The outcome of every stop; run `number` is stopped up to four times by the same plan."""
    (work / "scripts").mkdir(parents=True, exist_ok=True)
    with quick_cnnrun(work / "scripts") as scripts:
        stoppers: dict[tuple[str, bool], Stopper] = {}
        for number in numbers:
            draw = random.Random(number)
            name = draw.choice(list(CONFIGS))
            kind = name, number % 10 == 0  # a tenth of them draw their plots, too
            if kind not in stoppers:
                folder = work / f"{len(stoppers)}"
                command = partial(Fork, scripts, folder, "train", "-q")
                config = CONFIGS[name] if kind[1] else short(CONFIGS[name])
                stoppers[kind] = Stopper(folder, command, config)
            try:
                done = stoppers[kind].stop_and_compare(draw.choice([1, 2, 4]), draw)
            except LostError as error:
                yield Outcome(number, name, "lost", told=str(error))
                continue
            except AssertionError as error:
                yield Outcome(number, name, "different", told=str(error))
                continue
            for what in done:
                verdict = "ended before" if what == "ended before" else "worked"
                yield Outcome(number, what, verdict)
