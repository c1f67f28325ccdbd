"""Proof, on the user's own experiment, that a killed and resumed run gives the same bits."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cnnrun.errors import UserError
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.strict_json import to_json

# Number of checkpoints that the killed run writes.
_CHECKPOINTS = 20
_SPEED = ("images_per_second", "seconds", "peak_memory")

Notify = Callable[[str], object]


@dataclass
class Verdict:
    """The result.

    resumed_at: for each kill, the step of the checkpoint that the run was resumed from; 0 without
        one.
    differences: where the bits differ, as text; empty if all are the same.
    repeats: whether two uninterrupted runs are the same; None if that was not tested.
    """

    steps: int
    resumed_at: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    repeats: bool | None = None

    @property
    def same(self) -> bool:
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        return {"same": self.same, **asdict(self)}

    def to_text(self) -> str:
        kills = f"{self.steps:,} steps, {len(self.resumed_at)} kills"
        if self.same:
            return (
                f"the same bits after {kills}: weights, optimizer, schedule and progress of the "
                "best and the last checkpoint, metrics.jsonl, summary (except the speed)"
            )
        lines = [f"NOT the same bits after {kills}:", *(f"  {d}" for d in self.differences)]
        if self.repeats is False:
            lines.append(
                "two uninterrupted runs differ as well: training itself does not "
                "repeat on this device, with or without resuming; see training.deterministic"
            )
        return "\n".join(lines)


def verify(
    config: Path,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    kills: int = 5,
    seed: int | None = None,
    notify: Notify = lambda _: None,
) -> Verdict:
    """Train, train again with `kills` times kill -9 and --resume, and compare; keeps no files.

    seed: for the times of the kills; None: random.

    Raises:
        UserError: a run failed, or finished before the first kill.
    """
    with tempfile.TemporaryDirectory(prefix="cnnrun-verify-") as folder:
        runs = _Runs(Path(folder), config, overrides, plugins)
        started = time.monotonic()
        whole = runs.finish("whole")
        steps = Checkpoint.load(whole.checkpoint("last")).progress["step"]
        notify(f"trained {steps:,} steps in {time.monotonic() - started:.0f} s; now with kills")
        verdict = Verdict(steps)
        killed = runs.finish_killed(verdict, kills, random.Random(seed), notify)
        if not verdict.resumed_at:
            raise UserError("the run ended before it could be killed; give it more epochs")
        verdict.differences = differences(killed, whole)
        if verdict.differences:
            notify("the bits differ; training once more without a kill, to find the cause")
            verdict.repeats = not differences(runs.finish("again"), whole)
    return verdict


class _Runs:
    """Runs of one experiment by the command line, each in its own process."""

    def __init__(
        self, folder: Path, config: Path, overrides: Sequence[str], plugins: Sequence[str]
    ) -> None:
        self.folder = folder
        self.experiment = [str(config), *overrides]
        self.plugins = [f"--plugin={plugin}" for plugin in plugins]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        with (self.folder / "stderr.txt").open("w") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "cnnrun", "train", "-q", *self.plugins, *arguments],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
            )

    def run_in(self, name: str) -> RunDirectory | None:
        """The run below the output folder `name`; None before it has started."""
        found = next((self.folder / name).glob("*/*/config.yaml"), None)
        return RunDirectory(found.parent) if found else None

    def start_or_resume(self, name: str, *overrides: str) -> subprocess.Popen[str]:
        """Resume the run in `name`, or start it."""
        run = self.run_in(name)
        if run:
            return self.start("--resume", str(run.path))
        return self.start(*self.experiment, *overrides, f"output={self.folder / name}")

    def finish(self, name: str, *overrides: str) -> RunDirectory:
        """Wait until the run in `name` has finished."""
        process = self.start_or_resume(name, *overrides)
        try:
            code = process.wait()
        finally:
            process.kill()
        run = self.run_in(name)
        if code or not run:
            error = (self.folder / "stderr.txt").read_text(errors="replace").strip()
            raise UserError(f"the run in '{name}' failed (exit {code}):\n{error}")
        return run

    def finish_killed(
        self, verdict: Verdict, kills: int, draw: random.Random, notify: Notify
    ) -> RunDirectory:
        """Kill the run in `killed` `kills` times, then let it finish."""
        every = f"training.checkpoint_every={max(verdict.steps // _CHECKPOINTS, 1)} steps"
        most = min(_CHECKPOINTS, verdict.steps)
        for kill in range(1, kills + 1):
            # Spread the kills over the checkpoints that are left.
            waits = draw.randint(0, max(2 * most // (kills + 1) - 1, 1))
            if not self._kill(self.start_or_resume("killed", every), waits, draw):
                break  # it finished first
            step = self._step()
            verdict.resumed_at.append(step)
            notify(f"kill {kill}: resumed at step {step:,}")
        return self.finish("killed", every)

    def _kill(self, process: subprocess.Popen[str], waits: int, draw: random.Random) -> bool:
        """Kill -9 a moment after it has written `waits` checkpoints; False if it ended before."""
        seen, written, last = self._last_written(), 0, time.monotonic()
        between = 0.1
        try:
            while process.poll() is None and written <= waits:
                now = self._last_written()
                if now != seen:
                    seen, written = now, written + 1
                    between, last = time.monotonic() - last, time.monotonic()
                time.sleep(0.001)
            time.sleep(draw.uniform(0, min(between, 10)))
        finally:
            process.kill()
        return process.wait() < 0

    def _last_written(self) -> int:
        """Modification time of the last checkpoint, in nanoseconds; 0 before the first."""
        run = self.run_in("killed")
        try:
            return run.checkpoint("last").stat().st_mtime_ns if run else 0
        except FileNotFoundError:
            return 0

    def _step(self) -> int:
        run = self.run_in("killed")
        if not run or not run.checkpoint("last").is_file():
            return 0
        return int(Checkpoint.load(run.checkpoint("last")).progress["step"])


def differences(ours: RunDirectory, expected: RunDirectory) -> list[str]:
    """Where the bits of two runs of one experiment differ, as text."""
    found = []
    if ours.metrics.read_bytes() != expected.metrics.read_bytes():
        found.append(f"metrics.jsonl: {_first_row(ours, expected)}")
    summaries = [
        {k: v for k, v in run.read_summary().items() if k not in _SPEED} for run in (ours, expected)
    ]
    if to_json(summaries[0]) != to_json(summaries[1]):
        found.append("summary.json")
    for name in ("last", "best"):
        a, b = (_content(run.checkpoint(name)) for run in (ours, expected))
        found += [f"{name}.pt: {where}" for where in _unequal(a, b, "")][:5]
    return found


def _first_row(ours: RunDirectory, expected: RunDirectory) -> str:
    rows = zip(ours.read_metrics(), expected.read_metrics(), strict=False)
    for a, b in rows:
        for key in b:
            if a.get(key) != b[key]:
                return f"epoch {b['epoch']}: {key} is {a.get(key)} instead of {b[key]}"
    return "another number of rows"


def _content(file: Path) -> dict[str, Any]:
    """A checkpoint without its location and settings that are recomputed at each step."""
    content = dict(vars(Checkpoint.load(file)))
    del content["config"]
    for group in content["optimizer"].get("param_groups", []):
        group.pop("lr", None)
    return content


def _unequal(a: Any, b: Any, where: str) -> list[str]:
    """The dotted keys where two nested values differ."""
    if type(a) is not type(b):
        return [where]
    if isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape
        return [] if same and torch.equal(_bits(a), _bits(b)) else [where]
    if isinstance(b, dict):
        if a.keys() != b.keys():
            return [where]
        pairs = [(key, a[key], b[key]) for key in b]
    elif isinstance(b, list):
        if len(a) != len(b):
            return [where]
        pairs = [(i, x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return [] if a == b or (a != a and b != b) else [where]
    return [w for key, x, y in pairs for w in _unequal(x, y, f"{where}.{key}".lstrip("."))]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes: so NaN equals NaN, and 0 is not -0."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
