"""torch's schedulers by their own names: `torch/CosineAnnealingWarmRestarts`.

Each scheduler steps a learning rate of its own, apart from the network; the factor is the ratio to
its start. So rates in their keys (`eta_min`, `max_lr`) are those of the group that has the
optimizer's `lr`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

from cnnrun.components.schedules.schedule import Schedule
from cnnrun.errors import UserError
from cnnrun.registry import schedules
from cnnrun.runtime.torch_signatures import factory_like

_FUNCTION = "needs a function, which YAML can't give: register a schedule of your own"
_REFUSED = {
    "LRScheduler": "is the base class; use a class derived from it",
    "LambdaLR": _FUNCTION,
    "MultiplicativeLR": _FUNCTION,
    "SequentialLR": "needs other schedulers, which YAML can't give; a rise before is warmup_epochs",
    "ChainedScheduler": "needs other schedulers, which YAML can't give",
}
# The optimizer is cnnrun's; its momentum does not change.
_NOT_KEYS = (
    *("optimizer", "last_epoch", "total_steps", "epochs", "steps_per_epoch", "scale_fn"),
    *("cycle_momentum", "base_momentum", "max_momentum"),
)
# Those that torch's documentation steps after every batch.
_BY_BATCH = ("CyclicLR", "OneCycleLR")


def members() -> tuple[str, ...]:
    """The names of `torch.optim.lr_scheduler` that can be used."""
    found = {name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    classes = [name for name, value in found.items() if inspect.isclass(value)]
    return tuple(name for name in classes if name not in _REFUSED)


@schedules.libraries.register("torch", members, _REFUSED)
def torch_schedule(member: str) -> Callable[..., Any]:
    """Any scheduler of torch.optim.lr_scheduler by its own name, stepped as torch documents it.

    That is after each epoch, or after each batch for CyclicLR and OneCycleLR.
    """
    kind = getattr(lr_scheduler, member)
    if member == "ReduceLROnPlateau":
        made: Callable[..., Schedule] = OfPlateau
        given = ["lr"]
    else:
        given = ["total_steps", "steps_per_epoch", "lr"]

        def made(total_steps: int, steps_per_epoch: int, lr: float, **keys: Any) -> Schedule:
            interval = 1 if member in _BY_BATCH else steps_per_epoch
            if member == "OneCycleLR":
                keys["total_steps"] = total_steps
            if member in _BY_BATCH:
                keys["cycle_momentum"] = False
            return OfScheduler(lambda optimizer: kind(optimizer, **keys), interval, lr)

    # `mode` of ReduceLROnPlateau is `min`: it is given a loss.
    left_out = _NOT_KEYS if made is not OfPlateau else ("optimizer", "mode")
    rates = {"min_lr": float, "max_lr": float, "base_lr": float}
    try:
        return factory_like(kind, made, given=given, leave_out=left_out, types=rates)
    except UserError as error:
        raise UserError(f"torch/{member} {error}") from error


def _made(make: Callable[[Any], Any], lr: float) -> tuple[torch.optim.Optimizer, Any]:
    """A dummy optimizer and the scheduler of its learning rate.

    Raises:
        UserError: torch refuses the scheduler's keys.
    """
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    try:
        scheduler = make(optimizer)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"torch.optim.lr_scheduler: {error}") from error
    # The scheduler would warn that the optimizer did not step.
    optimizer.step()
    return optimizer, scheduler


class OfScheduler(Schedule):
    """The factors of one of torch's schedulers, which steps every `interval` optimizer steps."""

    def __init__(self, make: Callable[[Any], Any], interval: int, lr: float) -> None:
        self.interval, self.lr = interval, lr
        self.optimizer, self.scheduler = _made(make, lr)
        self.factors = [self._rate()]

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"]) / self.lr

    def factor(self, step: int) -> float:
        """See `Schedule.factor`; factors are cached."""
        at = max(step, 0) // self.interval
        while len(self.factors) <= at:
            self.scheduler.step()
            self.factors.append(self._rate())
        return self.factors[at]


class OfPlateau(Schedule):
    """torch's ReduceLROnPlateau, driven by the validation loss."""

    def __init__(self, lr: float, **keys: Any) -> None:
        self.lr = lr
        self.optimizer, self.scheduler = _made(
            lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, **keys), lr
        )

    def factor(self, step: int) -> float:  # noqa: ARG002
        return float(self.optimizer.param_groups[0]["lr"]) / self.lr

    def observe(self, value: float) -> None:
        self.scheduler.step(value)

    def state_dict(self) -> dict[str, Any]:
        state = self.scheduler
        return {
            "best": float(state.best),
            "num_bad_epochs": state.num_bad_epochs,
            "cooldown_counter": state.cooldown_counter,
            "last_epoch": state.last_epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        kept = dict(state)
        self.optimizer.param_groups[0]["lr"] = kept.pop("lr")
        self.scheduler.load_state_dict(kept)
