"""What a loss must be and return: of the kind that the task learns, and one number per sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cnnrun.components.tasks.task import Task
from cnnrun.errors import UserError


def refuse_other_loss(task: Task, loss: nn.Module) -> None:
    """Refuse a loss that says what it compares (`compares`), where that is not what `task` learns.

    Raises:
        UserError: what the task learns.
    """
    former = ("pixels",) if getattr(loss, "of_pictures", False) else None
    compares = getattr(loss, "compares", former)
    if compares is not None and task.targets not in compares:
        kinds = " or ".join(kind.replace("_", " ") for kind in compares)
        wanted = task.targets.replace("_", " ")
        default = task.defaults.get("loss", "another one")
        raise UserError(f"this loss compares {kinds}, not {wanted}; use {default}, for example")


class LossError(UserError):
    """A loss did not return one number per sample."""


def per_sample(losses: Any, count: int) -> Tensor:
    """The losses (N,) of `count` samples from what a loss returned for them.

    That is one per sample, (N,) or (N, 1), or their mean, (), which is then used for each.

    Raises:
        LossError: it is none of these, or no tensor of floating-point numbers.
    """
    if isinstance(losses, Tensor) and losses.is_floating_point():
        if losses.shape == (count,):
            return losses
        if losses.dim() == 0:
            return losses.expand(count)
        if losses.shape == (count, 1):
            return losses.squeeze(1)
        given = f"the shape {tuple(losses.shape)}"
    else:
        given = f"{losses.dtype}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
    raise LossError(
        f"gives {given} for a batch of {count}; it must give a tensor of one number per "
        f"sample, of the shape ({count},), or the batch's mean, of the shape ()"
    )
