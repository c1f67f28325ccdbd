"""`training.auto_speed`: time a few steps with each lever that keeps results; use the fastest."""

from __future__ import annotations

import copy
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from cnnrun.engine.measuring import measure
from cnnrun.engine.parts import Parts
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.distributed import broadcast_from_main, by_itself, world

# Levers that at most change the order of sums; not mixed precision.
LEVERS: dict[str, tuple[Any, ...]] = {
    "channels_last": (False, True),
    "compile": (False, True, "cuda_graphs"),
}
_STEPS, _ROUNDS = 5, 3
# Tolerated relative difference of the loss after the first steps from that of the plain settings.
_SAME = 1e-2


def fastest(parts: Parts) -> Parts:
    """`parts` with the levers that are fastest on this machine; nothing is written.

    Candidates are copies that take turns for some rounds, so that other load on the machine affects
    all alike. One that fails, or whose loss differs from that of the plain settings, is out.
    Compilation is only tried on GPUs: on the measured CPUs it cost 10 to 27 s and was slower. With
    many processes the first one measures, on its part of each batch, and all follow.

    Raises:
        UserError: see `Trainer`.
    """
    here, chosen = world(), ""
    if here.is_main:
        with by_itself():
            chosen = json.dumps(_measured(parts, here.size))
    return _with(parts, json.loads(broadcast_from_main(chosen)))


def _measured(parts: Parts, processes: int) -> dict[str, Any]:
    """The fastest values of the levers; none if the loss is not finite from the start."""
    trainers = list(_candidates(parts))
    losses = [_first_loss(trainer, processes) for trainer in trainers]
    if not math.isfinite(losses[0]):
        console.warn("auto_speed  the loss is not finite: the settings are unchanged")
        return {}
    same = [
        trainer
        for trainer, loss in zip(trainers, losses, strict=True)
        if abs(loss - losses[0]) <= _SAME * abs(losses[0])
    ]
    taken: dict[Trainer, list[float]] = {trainer: [] for trainer in same}
    for _, trainer in itertools.product(range(_ROUNDS), same):
        taken[trainer].append(_steps(trainer, processes)[0])
    times = {trainer: statistics.median(seconds) for trainer, seconds in taken.items()}
    best = min(times, key=lambda trainer: times[trainer])
    for trainer, seconds in times.items():
        words = ", ".join(f"{key}: {value}" for key, value in _settings(trainer).items())
        words += "  chosen" if trainer is best else ""
        console.warn(f"auto_speed  {1000 * seconds / _STEPS:.2f} ms a step  {words}")
    return _settings(best)


def _candidates(parts: Parts) -> Iterator[Trainer]:
    """A trainer with its own copy for each setting of the levers, the plain ones first."""
    shared = {id(part): part for part in (parts.dataset, parts.experiment, parts.crop)}
    for values in itertools.product(*LEVERS.values()):
        settings = dict(zip(LEVERS, values, strict=True))
        if settings["compile"] and parts.device.type != "cuda":
            continue
        try:
            yield Trainer(_with(copy.deepcopy(parts, dict(shared)), settings))
        except ConfigError:
            if not settings["compile"]:
                raise
            # `compiled` refuses what is impossible, such as batches in pieces


def _with(parts: Parts, settings: dict[str, Any]) -> Parts:
    """`parts`, with the model's memory format from the settings."""
    training = parts.experiment.training.model_copy(update={**settings, "auto_speed": False})
    last = torch.channels_last if training.channels_last else torch.contiguous_format
    parts.model.to(memory_format=last)
    return replace(parts, experiment=parts.experiment.model_copy(update={"training": training}))


def _settings(trainer: Trainer) -> dict[str, Any]:
    return {name: getattr(trainer.experiment.training, name) for name in LEVERS}


def _first_loss(trainer: Trainer, processes: int) -> float:
    """The mean loss of the first steps; none for what can't be compiled here."""
    training = trainer.experiment.training
    try:
        return _steps(trainer, processes)[1]
    except Exception as error:
        if not training.compile:
            raise
        reason = str(error).strip().partition("\n")[0]
        console.warn(f"auto_speed  compile: {training.compile} fails: {reason}")
        return math.nan


def _steps(trainer: Trainer, processes: int) -> tuple[float, float]:
    """Seconds of some steps on this process's part of the first batches, and their mean loss."""
    trainer.start_epoch(0)
    trainer.set_training_mode(0)
    with closing(trainer.train_batches.iterate(trainer.order_of(0))) as found:
        batches = [
            (images[: -(-len(images) // processes)], labels[: -(-len(labels) // processes)])
            for images, labels in itertools.islice(found, _STEPS)
        ]
    _wait(trainer.device)
    started = time.perf_counter()
    loss = measure(trainer, batches)["loss"]
    _wait(trainer.device)
    taken = (time.perf_counter() - started) * _STEPS / len(batches)
    return taken, math.nan if loss is None else loss


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
