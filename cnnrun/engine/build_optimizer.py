"""The optimizer of an experiment's parameters and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.schedules import Schedule, build_schedule
from cnnrun.components.tasks.training_step import parameters_of
from cnnrun.config.experiment import Experiment
from cnnrun.engine.closures import required_arguments
from cnnrun.engine.own_step import SeveralOptimizers
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.runtime.torch_shortcuts import leave_compiler_out


def build_optimizer(parts: Parts) -> torch.optim.Optimizer:
    """The optimizer of all that trains at some time; `initial_lr` holds each group's own rate."""
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
        optimizer: torch.optim.Optimizer = _of_the_task(parts) or registry.optimizers.build(
            experiment.optimizer, parameters=parameters
        )
    note_initial_rates(optimizer)
    return optimizer


def _of_the_task(parts: Parts) -> SeveralOptimizers | None:
    """The task's own optimizers, combined into one.

    Raises:
        ConfigError: they have their own rates, and `transfer` sets others.
    """
    config = parts.experiment.optimizer

    def make(given: nn.Module | Iterable[Tensor], **changes: Any) -> torch.optim.Optimizer:
        checked = registry.optimizers.get(config.name).schema()(
            **{**config.model_dump(), **changes}
        )
        made: torch.optim.Optimizer = registry.optimizers.build(
            checked, parameters=parameters_of(given)
        )
        if wanted := required_arguments(made):
            raise UserError(f"{config.name}: step({', '.join(wanted)}) can't be one of several")
        return made

    named = parts.task.optimizers(parts.model, make)
    if named and not parts.trainable.one_rate:
        message = "the task has optimizers of its own; leave lr_multipliers and unfreeze_at out"
        raise parts.experiment.error(["transfer"], message)
    return SeveralOptimizers(named) if named else None


def note_initial_rates(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])


def build_lr_schedule(experiment: Experiment, steps_per_epoch: int) -> Schedule:
    total = experiment.training.epochs * steps_per_epoch
    with experiment.located("schedule"):
        lr = float(getattr(experiment.optimizer, "lr", 1.0))
        return build_schedule(experiment.schedule, total, steps_per_epoch, lr)
