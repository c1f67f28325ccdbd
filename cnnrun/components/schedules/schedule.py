"""Learning-rate schedules: pure functions of the step, so that resuming needs no hidden state.

`factor(step)` multiplies the optimizer's learning rate at the 0-based optimizer step `step`. Epochs
in parameters count from the start of training, whatever the warm-up.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from cnnrun.errors import UserError
from cnnrun.registry import Component, schedules


class ScheduleOptions(Component):
    """Keys of every schedule."""

    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the learning rate first rises linearly."""


class Schedule:
    """Base class; also the constant schedule's behaviour."""

    def factor(self, step: int) -> float:  # noqa: ARG002
        """The multiplier of the learning rate at `step`."""
        return 1.0

    def observe(self, value: float) -> None:
        """Called with the validation loss after every epoch; only `plateau` uses it."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def build_schedule(
    config: ScheduleOptions, total_steps: int, steps_per_epoch: int, lr: float = 1.0
) -> Schedule:
    """The schedule that `config` names, with its warm-up in front.

    lr: the optimizer's learning rate, for schedules whose keys are rates instead of factors.

    Raises:
        UserError: the warm-up is as long as the training.
    """
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if warmup_steps >= total_steps > 0 and warmup_steps > 0:
        raise UserError(
            f"warmup_epochs {config.warmup_epochs:g}: training has only {total_steps} steps, "
            f"{total_steps / steps_per_epoch:g} epochs, and nothing would be left at the full "
            "rate; use fewer, or more training.epochs"
        )
    schedule: Schedule = schedules.build(
        config,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=warmup_steps,
        lr=lr,
    )
    if not isinstance(schedule.factor(0), int | float):
        wrong = type(schedule.factor(0)).__name__
        raise schedules.get(config.name).mistake(f"gives a {wrong} as factor(0), not a number")
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule


class WarmUp(Schedule):
    """Linear from 1/W at the first of W steps to the full rate at the last (Goyal et al. 2017)."""

    def __init__(self, after: Schedule, steps: int) -> None:
        self.after, self.steps = after, steps

    def factor(self, step: int) -> float:
        rising = (step + 1) / self.steps if step < self.steps else 1.0
        return rising * self.after.factor(step)

    def observe(self, value: float) -> None:
        self.after.observe(value)

    def state_dict(self) -> dict[str, Any]:
        return self.after.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.after.load_state_dict(state)
