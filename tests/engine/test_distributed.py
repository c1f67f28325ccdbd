"""Several processes, one run: `torchrun -m cnnrun train` on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnrun.runtime.distributed import World, local_slice
from tests.conftest import Command
from tests.forking import together

CONFIG = """\
dataset: {name: digits, batch_size: 60, limit: 1003, validation: 151}
model: {name: mlp, hidden: [32]}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
device: cpu
training:
  {epochs: 2, draw: false, checkpoint_every: 8 steps, ema: 0.9, accumulate: 2, clip_norm: 5.0}
"""

# It starts the shell's quick command.
TORCHRUN = "torchrun --no-python --nproc-per-node 2"

# Which process kills itself, in which of its steps, if it has not done so before.
KILLER = """\
import os
import signal
from pathlib import Path

import torch
import torch.nn.functional as F

from cnnrun.registry import losses


@losses.register("killer")
class Killer(torch.nn.Module):
    \"\"\"Cross entropy that ends one process.\"\"\"

    steps = 0

    def forward(self, outputs, targets):
        Killer.steps += outputs.requires_grad
        once = Path("killed")
        if os.environ.get("RANK") == "1" and Killer.steps == 40 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return F.cross_entropy(outputs, targets, reduction="none")
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "many.yaml"
    file.write_text(CONFIG)
    (tmp_path / "killer.py").write_text(KILLER)
    return file


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@given(st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 17))
def test_shares_are_every_sample_exactly_once(first: int, count: int, size: int) -> None:
    shares = [local_slice(first, first + count, World(rank, size)) for rank in range(size)]
    taken = [i for a, b in shares for i in range(a, b)]
    assert taken == list(range(first, first + count))
    assert max(b - a for a, b in shares) - min(b - a for a, b in shares) <= 1


def test_two_processes_compute_what_one_does(cnnrun: Command, config: Path, tmp_path: Path) -> None:
    """852 training images in batches of 60, the last of 12; 151 validation images: all uneven."""
    alone = Path(cnnrun("train", config, "-q").out.strip()).resolve()
    ended = together(2, "train", config, "-q", "output=two")
    assert ended.code == 0, ended.err
    two = tmp_path / ended.out.strip()
    assert len(list(two.parent.iterdir())) == 1, "one process alone makes a run directory"
    for ours, theirs in zip(_rows(two), _rows(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    scores = [json.loads((run / "summary.json").read_text())["test"] for run in (alone, two)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


@pytest.mark.slow
def test_a_process_that_dies_stops_the_others_and_the_run_goes_on(
    shell: Command, config: Path, tmp_path: Path
) -> None:
    train = ("train", config, "loss=killer", "plugins=[killer.py]", "-q")
    (tmp_path / "killed").touch()
    whole = together(2, *train, "output=whole")
    assert whole.code == 0, whole.err

    (tmp_path / "killed").unlink()
    ended = shell(f"{TORCHRUN} cnnrun {' '.join(map(str, train))}")
    assert ended.code != 0
    assert "another one ended" in ended.err or "Signal 9 (SIGKILL)" in ended.err
    assert "Traceback (most recent call last)" not in ended.err.partition("torch/distributed")[0]
    [run] = (tmp_path / "runs" / "many").iterdir()

    ended = together(2, *train, "--resume-or-start")
    assert ended.code == 0, ended.err
    assert (tmp_path / ended.out.strip()) == run
    assert _rows(run) == _rows(tmp_path / whole.out.strip())


@pytest.mark.slow
def test_torchruns_own_restart_goes_on_from_the_checkpoint(
    shell: Command, config: Path, tmp_path: Path
) -> None:
    train = f"cnnrun train {config} loss=killer plugins=[killer.py] -q"
    ended = shell(f"{TORCHRUN} --standalone --max-restarts 1 {train}")
    assert ended.code == 0, ended.err
    assert (tmp_path / "killed").exists()
    assert len(list((tmp_path / "runs" / "many").iterdir())) == 1
    assert len(_rows(tmp_path / ended.out.strip())) == 2


@pytest.mark.slow
def test_a_signal_ends_all_processes_with_their_state_saved(
    shell: Command, config: Path, tmp_path: Path
) -> None:
    ended = shell(
        f"{TORCHRUN} cnnrun train {config} training.epochs=100000 -q & "
        "until ls runs/many/*/checkpoints/last.pt >&2; do sleep 0.1; kill -0 $! || exit 0; done; "
        "kill -TERM $!; wait $!"
    )
    assert ended.code != 0, ended.err
    [run] = (tmp_path / "runs" / "many").iterdir()
    epochs = len(_rows(run))
    resumed = shell(f"cnnrun train --resume {run} training.epochs={epochs + 2} -q")
    assert resumed.code == 0, resumed.err
    assert len(_rows(run)) == epochs + 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("optimizer=lbfgs", "lbfgs evaluates the loss several times a step, which several"),
        ("dataset.batch_size=1", "too small for 2 processes"),
    ],
)
def test_what_many_processes_can_not_do_is_told_before_training(
    config: Path, monkeypatch: pytest.MonkeyPatch, change: str, told: str
) -> None:
    from cnnrun.config.experiment import load
    from cnnrun.engine.build import build
    from cnnrun.engine.trainer import Trainer
    from cnnrun.errors import ConfigError
    from cnnrun.runs.directory import RunDirectory
    from cnnrun.runtime.interrupt import StopRequest

    parts = build(load(config, [change]))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=told):
        Trainer(parts, RunDirectory(Path()), StopRequest())


SMALL_MEMORY = """\
import os

import torch
import torch.nn.functional as F

from cnnrun.plugin import losses


@losses.register("small_memory")
class SmallMemory(torch.nn.Module):
    \"\"\"Cross entropy; the second process alone has memory for no more than ten images.\"\"\"

    def forward(self, outputs, targets):
        if os.environ.get("RANK") == "1" and outputs.requires_grad and len(outputs) > 10:
            raise torch.OutOfMemoryError("out of memory")
        return F.cross_entropy(outputs, targets, reduction="none")
"""


@pytest.mark.slow
def test_processes_agree_on_pieces_and_on_the_fastest_settings(
    config: Path, tmp_path: Path
) -> None:
    """One of two runs out of memory, with batch normalization: neither waits for the other."""
    (tmp_path / "small_memory.py").write_text(SMALL_MEMORY)
    net = ("model={name: cnn, channels: [4], batch_norm: true}", "training.accumulate=1")
    found = together(
        *(2, "train", config, *net, "-q", "training.auto_batch=true", "training.auto_speed=true"),
        *("loss=small_memory", "plugins=[small_memory.py]"),
    )
    assert found.code == 0, found.err
    assert found.err.count("a batch now goes in 4 pieces") == 1, "the first process says it, once"
    assert found.err.count("ms a step") == 2, "the first process measures"
    whole = together(2, "train", config, *net, "-q", "output=whole", "training.accumulate=4")
    assert whole.code == 0, whole.err
    for ours, theirs in zip(
        _rows(tmp_path / found.out.strip()), _rows(tmp_path / whole.out.strip()), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-3)
