"""Real runs of the command line, and what they leave, bit by bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.conftest import HANGS

# A checkpoint of 2.3 MB after every step, so that many kills fall into writing one.
CONFIG = """\
dataset: {name: digits, batch_size: 64, augment: [{name: rotation, degrees: 10}]}
model: {name: mlp, hidden: [500, 500], dropout: 0.2}
optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
schedule: cosine
device: cpu
training: {epochs: 3, checkpoint_every: 1 steps}
"""


def write_config(folder: Path, text: str = CONFIG) -> Path:
    file = folder / "chaos.yaml"
    file.write_text(text)
    return file


# What the installed script does, once Python itself has started: until then it answers SIGINT
# with a traceback of its own.
_COMMAND = "open('.started', 'w').close(); from cnnrun.cli import main; main()"


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """`cnnrun` with these arguments, in a process of its own that has just started."""
    started = folder / ".started"
    started.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not started.exists() and process.poll() is None:
        time.sleep(0.001)
    return process


def finish(folder: Path, *arguments: object) -> Path:
    """Run `cnnrun train` to its end; the run directory."""
    process = start(folder, "train", "-q", *arguments)
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 0, err
    return folder / out.strip()


def assert_same_end(run: Path, whole: Path) -> None:
    """All that a run computed has the bits of one that was never stopped; nothing else is left."""
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert _without_speed(run) == _without_speed(whole)
    for name in ("last.pt", "best.pt"):
        ours, expected = (
            torch.load(r / "checkpoints" / name, weights_only=True) for r in (run, whole)
        )
        for content in (ours, expected):
            del content["config"]["output"]
            for group in content["optimizer"]["param_groups"]:
                del group["lr"]  # set before each step, from `initial_lr`; at rest it means nothing
        assert_equal(ours, expected, name)
    for folder in (".", "checkpoints", "plots"):
        names, wanted = ({f.name for f in (r / folder).iterdir()} for r in (run, whole))
        assert names == wanted, "more is left, or less"


def _without_speed(run: Path) -> dict[str, Any]:
    summary = json.loads((run / "summary.json").read_text())
    return {
        k: v for k, v in summary.items() if k not in ("images_per_second", "seconds", "peak_memory")
    }


def assert_equal(ours: Any, expected: Any, where: str) -> None:
    """Equal types, keys and bits."""
    assert type(ours) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected), where
    elif isinstance(expected, dict):
        assert ours.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(ours[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(ours) == len(expected), where
        for i, value in enumerate(expected):
            assert_equal(ours[i], value, f"{where}.{i}")
    else:
        assert ours == expected, where
