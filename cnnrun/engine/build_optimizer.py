"""The optimizer of an experiment's parameters and the schedule of its learning rate."""

from __future__ import annotations

from typing import Any

import torch

from cnnrun import registry
from cnnrun.components.schedules import Schedule, build_schedule
from cnnrun.config.experiment import Experiment
from cnnrun.engine.parts import Parts
from cnnrun.models.transfer import parameter_groups
from cnnrun.runtime.torch_shortcuts import leave_compiler_out


def build_optimizer(parts: Parts) -> torch.optim.Optimizer:
    """The optimizer of the parameters that train; `initial_lr` notes each group's own rate."""
    experiment, model, transfer = parts.experiment, parts.model, parts.transfer
    parameters: list[Any] = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise experiment.error(
            ["transfer", "freeze"] if transfer else ["model"],
            "nothing to train: no parameter of the model requires a gradient",
        )
    if transfer and transfer.lr_multipliers:
        with experiment.located("transfer"):
            lr = float(experiment.optimizer.lr)  # type: ignore[attr-defined]
            parameters = parameter_groups(model, transfer, lr)
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
        return build_schedule(experiment.schedule, total, steps_per_epoch)
