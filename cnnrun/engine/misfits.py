"""Models, losses and optimizers that do not fit what the loop asks of them, each in a sentence."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnrun import registry
from cnnrun.components.tasks.task import LossError
from cnnrun.engine.out_of_memory import is_out_of_memory
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.registry import Entry


def misfit(error: Exception, parts: Parts, inputs: Tensor) -> UserError | None:
    """What to tell instead of an exception of forward or loss; None where nothing is known of it.

    inputs: the batch, (N, C, H, W) float32.
    """
    experiment = parts.experiment
    if isinstance(error, UserError):
        loss = registry.losses.get(experiment.loss.name)
        return mistake(loss, str(error)) if isinstance(error, LossError) else None
    if is_out_of_memory(error):
        return None
    if "more than 1 value per channel" in str(error):
        return experiment.error(
            ["dataset", "batch_size"],
            "batch normalization learns from two values a channel or more, and the last maps "
            "of one image have one; use larger batches or images",
        )
    try:
        with torch.no_grad():
            outputs = parts.model(inputs)
    except Exception:
        return None
    return _misfit_of_model(outputs, parts, len(inputs))


def refuse_misfit(parts: Parts, losses: Any, outputs: Any, samples: int) -> None:
    """Refuse what a task's step gave for a batch of so many samples.

    Raises:
        UserError: the outputs fit no class, the losses no sample, or they have no gradient.
    """
    experiment = parts.experiment
    if told := _misfit_of_model(outputs, parts, samples):
        raise told
    if not isinstance(losses, Tensor) or losses.shape != (samples,):
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        task = registry.tasks.get(experiment.task.name)
        raise mistake(task, f"must give losses of the shape ({samples},) in `step`, not {given}")
    if not losses.requires_grad:
        raise mistake(
            registry.losses.get(experiment.loss.name),
            "gives a value without a gradient: it was detached (`.detach()`, `.data`, `.item()`, "
            "`torch.tensor(...)`) or computed outside of torch, and nothing would be learnt",
        )


def _misfit_of_model(outputs: Any, parts: Parts, samples: int) -> UserError | None:
    try:
        parts.task.check_outputs(outputs, samples, len(parts.dataset.classes))
    except UserError as error:
        return mistake(registry.models.get(parts.experiment.model.name), str(error))
    return None


def mistake(entry: Entry, text: str) -> UserError:
    """What is wrong with a component; of a user's own, with the place of its code."""
    told = f"the {entry.kind} '{entry.name}' {text}"
    if entry.factory.__module__.startswith("cnnrun."):
        return UserError(told)
    file = inspect.getsourcefile(entry.factory) or "?"
    _, line = inspect.getsourcelines(entry.factory)
    return UserError(f"{Path(file)}:{line}: {told}")
