"""The optimizer of an experiment's parameters and the schedule of its learning rate."""

from __future__ import annotations

from typing import Any

import torch

from cnnrun import registry
from cnnrun.components.schedules import Schedule, build_schedule
from cnnrun.config.experiment import Experiment
from cnnrun.engine.parts import Parts
from cnnrun.runtime.torch_shortcuts import leave_compiler_out


def build_optimizer(parts: Parts) -> torch.optim.Optimizer:
    """The optimizer of what trains at any time; `initial_lr` notes each group's own rate."""
    experiment, trainable = parts.experiment, parts.trainable
    if not trainable.now():
        raise experiment.error(
            ["transfer", "freeze"] if parts.transfer else ["model"],
            "nothing to train: no parameter of the model requires a gradient",
        )
    parameters: list[Any] = trainable.parameters()
    if not trainable.one_rate:
        with experiment.located("transfer"):
            lr = float(experiment.optimizer.lr)  # type: ignore[attr-defined]
            parameters = trainable.groups(lr)
    if not experiment.training.compile:
        leave_compiler_out()
    with experiment.located("optimizer"):
        optimizer: torch.optim.Optimizer = registry.optimizers.build(
            experiment.optimizer, parameters=parameters
        )
    note_initial_rates(optimizer)
    return optimizer


def note_initial_rates(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])


def build_lr_schedule(experiment: Experiment, steps_per_epoch: int) -> Schedule:
    total = experiment.training.epochs * steps_per_epoch
    with experiment.located("schedule"):
        lr = float(getattr(experiment.optimizer, "lr", 1.0))
        return build_schedule(experiment.schedule, total, steps_per_epoch, lr)
