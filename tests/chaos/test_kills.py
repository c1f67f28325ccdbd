"""kill -9 at any instant: the run goes on to the bits of one that was never stopped."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.forking import Fork, Forks
from tests.chaos.runs import CONFIG, assert_same_end, start, write_config

KILLS = int(os.environ.get("CNNRUN_CHAOS_KILLS", "50"))
SHORT = CONFIG.replace("epochs: 3", "epochs: 1, draw: false")
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


def _wait_for(process: Process, folder: Path, pattern: str) -> bool:
    """Until a file of that name is there; False if the process ends before."""
    while process.poll() is None:
        if any(folder.glob(pattern)):
            return True
        time.sleep(0.001)
    return False


def _kill_somewhere(process: Process, folder: Path, phase: str, draw: random.Random) -> str:
    """Kill it in the phase: what was going on, or `ended` if it was quicker."""
    known = set(folder.glob("runs/*/*/checkpoints/.*"))
    if phase == "start":
        time.sleep(draw.uniform(0, 3))
    elif phase == "first files":
        if not _wait_for(process, folder, "runs/chaos/*"):
            return "ended"
        time.sleep(draw.uniform(0, 0.05))
    elif phase == "training":
        if not _wait_for(process, folder, "runs/chaos/*/checkpoints/last.pt"):
            return "ended"
        time.sleep(draw.uniform(0, 0.7))
    else:
        while process.poll() is None and set(folder.glob("runs/*/*/checkpoints/.*")) <= known:
            pass
        time.sleep(draw.uniform(0, 0.005))
    process.kill()
    return phase if process.wait() == -9 else "ended"


class Killer:
    """Trains and kills in a folder, with processes that `command` starts."""

    def __init__(self, folder: Path, command: Callable[..., Process], seed: int) -> None:
        self.folder, self.command = folder, command
        self.draw = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.phases = ["start", "first files", "writing", "writing", "training", "training"]

    def finish(self, *arguments: object) -> Path:
        process = self.command(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return self.folder / out.strip()

    def kill(self, kills: int, of_each_run: list[int], config: Path) -> None:
        """One run after another, killed and gone on with, until so many kills were dealt.

        of_each_run: after how many kills a run may end; chosen anew for each.
        """
        whole = self.finish(config, "output=whole")
        for _ in range(3 * kills):
            if self.done.total() >= kills:
                return
            for old in self.folder.glob("runs/chaos/*"):
                old.rename(self.folder / f"finished-{old.name}")
            most = min(self.draw.choice(of_each_run), kills - self.done.total())
            run = self._killed(config, most)
            assert_same_end(self.finish(*(["--resume", run] if run else [config])), whole)
        raise AssertionError(f"too few kills: {self.done}")

    def _killed(self, config: Path, kills: int) -> Path | None:
        """A run that was killed so many times, unless it ended before; None if none has begun."""
        run = None
        for _ in range(kills):
            process = self.command(*(["--resume", run] if run else [config]))
            phase = _kill_somewhere(process, self.folder, self.draw.choice(self.phases), self.draw)
            _, err = process.communicate()
            assert "Traceback" not in err
            if phase == "ended":
                assert process.returncode == 0, err
                return next(self.folder.glob("runs/chaos/*"))
            self.done[phase] += 1
            run = next(self.folder.glob("runs/chaos/*"), None)
            if run and not (run / "config.yaml").is_file():
                refused = self.command("--resume", run)
                assert "not a run directory (no config.yaml" in refused.communicate()[1]
                assert refused.returncode == 1
                run.rename(self.folder / f"stillborn-{run.name}")
                run = None
        return run


def _killer(forked: Forks, folder: Path, seed: int) -> Killer:
    return Killer(folder, partial(forked.start, folder, "train", "-q"), seed)


def test_a_run_killed_four_times_ends_at_the_same_bits(forked: Forks, tmp_path: Path) -> None:
    killer = _killer(forked, tmp_path, seed=3)
    killer.phases = ["writing", "training", "first files"]
    killer.kill(4, [2], write_config(tmp_path, SHORT))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_50_kills(forked: Forks, tmp_path: Path, name: str) -> None:
    killer = _killer(forked, tmp_path, seed=0)
    killer.kill(KILLS, [1, 2, 4], write_config(tmp_path, CONFIGS[name]))
    print(name, killer.done)
    assert len(killer.done) >= 3


@pytest.mark.slow
def test_kills_of_the_installed_command(tmp_path: Path) -> None:
    killer = Killer(tmp_path, partial(start, tmp_path), seed=1)
    killer.kill(max(KILLS // 5, 1), [1, 2, 4], write_config(tmp_path))
    print("the installed command", killer.done)


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    forked: Forks, tmp_path: Path
) -> None:
    """What is left then: the directory, the config, perhaps a row of the log."""
    config = write_config(tmp_path, SHORT)
    killer = _killer(forked, tmp_path, seed=0)
    whole = killer.finish(config, "output=whole")
    run = tmp_path / "runs" / "chaos" / "killed"
    (run / "checkpoints").mkdir(parents=True)
    (run / "plots").mkdir()
    (run / "checkpoints" / ".last.pt-abc.unfinished").write_bytes(b"half")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "lo')
    (run / "config.yaml").write_text((whole / "config.yaml").read_text())
    (run / "environment.json").write_text("{}")
    assert killer.finish("--resume", run) == run
    assert_same_end(run, whole)
