"""Gradient checkpointing: less memory, and the very bits of training without it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from cnnrun.config.experiment import load
from cnnrun.engine.build import build
from cnnrun.engine.trainer import Trainer
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import Command
from tests.forking import together

CONFIG = """\
name: blocks
dataset: {name: digits, batch_size: 50, limit: 200, validation: 40}
model: {name: resnet, depth: 8, width: 4, dropout: 0.2}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
device: cpu
training: {epochs: 2, draw: false}
"""
ON = "training.checkpoint_activations=true"


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(CONFIG)


def trained(cnnrun: Command, *changes: str) -> Path:
    ended = cnnrun("train", "x.yaml", *changes, "-q")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def state_of(run: Path) -> dict[str, Any]:
    held = Checkpoint.load(run / "checkpoints/last.pt")
    return {"model": held.model, "raw": held.raw, "optimizer": held.optimizer["state"]}


@pytest.mark.parametrize(
    "changes",
    [
        ["model.name=resnet"],
        ["model={name: cnn, channels: [4, 6, 8], batch_norm: true, dropout: 0.3}"],
        ["training.amp=bf16"],
        ["training.accumulate=2", "training.clip_norm=1", "training.swa=0"],
        pytest.param(["optimizer={name: lbfgs}"], marks=pytest.mark.slow),
    ],
)
def test_weights_statistics_and_log_are_equal_to_the_bit(
    cnnrun: Command, changes: list[str]
) -> None:
    without = trained(cnnrun, *changes)
    with_it = trained(cnnrun, *changes, ON, "output=on")
    assert (with_it / "metrics.jsonl").read_bytes() == (without / "metrics.jsonl").read_bytes()
    torch.testing.assert_close(state_of(with_it), state_of(without), rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_compute_the_same() -> None:
    without, with_it = (
        together(2, "train", "x.yaml", *changes, "-q")
        for changes in (["output=off"], [ON, "output=on"])
    )
    assert with_it.code == 0, with_it.err
    states = [state_of(Path(ended.out.strip())) for ended in (without, with_it)]
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)


def test_it_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]],
) -> None:
    whole, cut = killed_and_resumed(6, "x.yaml", ON)
    torch.testing.assert_close(state_of(cut), state_of(whole), rtol=0, atol=0)


def peak_of_a_step(*changes: str) -> int:
    """The most bytes that a step holds in addition to weights and batch."""
    parts = build(load(Path("x.yaml"), ["model.depth=20", *changes]))
    trainer = Trainer(parts)
    images, labels = next(trainer.train_batches.iterate())
    trainer.set_training_mode(0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        trainer.train_step(images, labels)
    events = profiled.profiler.kineto_results.events()  # type: ignore[union-attr]
    held = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def test_a_step_holds_less() -> None:
    assert peak_of_a_step(ON) < 0.6 * peak_of_a_step()


def test_a_copy_of_the_model_computes_with_its_own_weights() -> None:
    trainer = Trainer(build(load(Path("x.yaml"), [ON])))
    Trainer(trainer.full)  # a second one changes nothing more
    model = trainer.stepped.model.train()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    assert not other(torch.rand(4, 1, 8, 8)).any()
    assert sum(hasattr(type(m), "without_checkpoint") for m in model.modules()) == 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["model=mlp"], "mlp has no blocks of layers in a row"),
        (["training.compile=true"], "does not go with training.compile; leave one of them out"),
        (["--seeds", "2"], "does not work with many seeds at once"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    cnnrun: Command, changes: list[str], told: str
) -> None:
    ended = cnnrun("train", "x.yaml", ON, *changes)
    assert ended.code == 2
    assert "training.checkpoint_activations: " in ended.err
    assert told in ended.err


def test_the_words_of_others_are_taken(cnnrun: Command) -> None:
    run = trained(cnnrun, "training.gradient_checkpointing=true", "training.epochs=1")
    config = (run / "config.yaml").read_text()
    assert "checkpoint_activations: true" in config
    assert json.loads((run / "summary.json").read_text())["epochs"] == 1
