"""`training.auto_speed`: a few steps with each lever that keeps the numbers, then the fastest."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnrun.config.experiment import Experiment, changed_copy
from cnnrun.engine.build import build
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import ConfigError, UserError
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime import console
from cnnrun.runtime.interrupt import StopRequest

# Levers that change the order of sums at most. 16 bits are not among them.
LEVERS: dict[str, tuple[Any, ...]] = {
    "channels_last": (False, True),
    "compile": (False, True, "cuda_graphs"),
}
_STEPS, _ROUNDS = 5, 3
# How far the loss after the first steps may be from that of the plain settings, relatively.
_SAME = 1e-2


def fastest(experiment: Experiment) -> Experiment:
    """`experiment` with the levers set that step fastest here; nothing is written.

    Candidates take turns for some rounds, so that whatever else the machine does meets all. A
    candidate that fails, or whose loss is not that of the plain settings, is out. Compilation is
    tried on GPUs alone: on the CPUs that it was measured on it cost 10 to 27 s and lost.

    Raises:
        UserError: see `build`.
    """
    trainers = dict(_candidates(experiment))
    losses = {settings: _first_loss(trainer) for settings, trainer in trainers.items()}
    plain = losses[next(iter(losses))]
    same = [s for s, loss in losses.items() if abs(loss - plain) <= _SAME * abs(plain)]
    seconds: dict[tuple[Any, ...], list[float]] = {settings: [] for settings in same}
    for _, settings in itertools.product(range(_ROUNDS), same):
        seconds[settings].append(_steps(trainers[settings])[0])
    times = {settings: statistics.median(taken) for settings, taken in seconds.items()}
    best = min(times, key=lambda settings: times[settings])
    for settings, taken in times.items():
        words = ", ".join(f"{k}: {v}" for k, v in zip(LEVERS, settings, strict=True))
        mark = "  chosen" if settings == best else ""
        console.warn(f"auto_speed  {1000 * taken / _STEPS:.2f} ms a step  {words}{mark}")
    return _with(experiment, best)


def _candidates(experiment: Experiment) -> Iterator[tuple[tuple[Any, ...], Trainer]]:
    for settings in itertools.product(*LEVERS.values()):
        parts = build(_with(experiment, settings))
        compiles = parts.experiment.training.compile
        if compiles and parts.device.type != "cuda":
            continue
        try:
            trainer = Trainer(parts, RunDirectory(Path()), StopRequest())
        except ConfigError:
            if not compiles:
                raise
            continue  # `compiled` knows what can't be: batches in pieces, say
        yield settings, trainer


def _with(experiment: Experiment, settings: tuple[Any, ...]) -> Experiment:
    chosen = dict(zip(LEVERS, settings, strict=True))
    return changed_copy(experiment, {"training": {**chosen, "auto_speed": False}})


def _first_loss(trainer: Trainer) -> float:
    """The mean loss of the first steps; what can't be compiled here has none."""
    training = trainer.experiment.training
    try:
        return _steps(trainer)[1]
    except Exception as error:
        if not training.compile:
            raise
        told = str(error).strip().partition("\n")[0]
        console.warn(f"auto_speed  compile: {training.compile} fails: {told}")
        return float("nan")


def _steps(trainer: Trainer) -> tuple[float, float]:
    """Seconds of some steps on the first batches, and the mean loss of them."""
    trainer.progress.batch = trainer.progress.samples = 0
    trainer.sums.zero_()
    trainer.set_training_mode(0)
    batches: list[tuple[Tensor, Tensor]] = list(
        itertools.islice(trainer.train_batches.iterate(trainer.order_of(0)), _STEPS)
    )
    _wait(trainer.device)
    started = time.perf_counter()
    for images, labels in batches:
        trainer.train_step(images, labels)
    _wait(trainer.device)
    taken = (time.perf_counter() - started) * _STEPS / len(batches)
    try:
        return taken, trainer.running_means()["loss"]
    except UserError:
        return taken, float("nan")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
