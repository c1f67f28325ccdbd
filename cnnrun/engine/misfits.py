"""What forward and loss may return, and the messages when they return something else."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cnnrun import registry
from cnnrun.components.tasks.loss_contract import LossError
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError


def misfit(error: Exception, parts: Parts) -> UserError | None:
    """A better error for an exception of forward or loss; None if it says enough."""
    experiment = parts.experiment
    if isinstance(error, LossError):
        return registry.losses.get(experiment.loss.name).mistake(str(error))
    if "more than 1 value per channel" in str(error):
        return experiment.error(
            ["dataset", "batch_size"],
            "batch normalization needs at least two values per channel, and the last maps "
            "of one image have one; use larger batches or images",
        )
    return None


def refuse_misfit(parts: Parts, losses: Any, samples: int) -> None:
    """Refuse invalid losses from a task's step for `count` samples.

    Raises:
        UserError: they are not one per sample, or have no gradient.
    """
    # At every step, as a loss may vary: comparing shapes costs next to nothing.
    if not isinstance(losses, Tensor) or losses.shape != (samples,):
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise registry.tasks.get(parts.experiment.task.name).mistake(
            f"must give losses of the shape ({samples},) in `step`, not {given}"
        )
    if not losses.requires_grad:
        raise registry.losses.get(parts.experiment.loss.name).mistake(
            "gives a value without a gradient: it was detached (`.detach()`, `.data`, `.item()`, "
            "`torch.tensor(...)`) or computed outside of torch, and nothing would be learned"
        )
