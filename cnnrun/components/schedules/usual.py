"""The usual schedules."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from cnnrun.components.schedules.schedule import Schedule
from cnnrun.registry import schedules

Fraction = Annotated[float, Field(ge=0, le=1)]


@schedules.register("constant")
class Constant(Schedule):
    """The learning rate stays the same throughout."""


@schedules.register("step")
class Step(Schedule):
    """Multiply the learning rate by `gamma` every `epochs` epochs."""

    def __init__(
        self,
        steps_per_epoch: int,
        *,
        epochs: Annotated[int, Field(ge=1)] = 10,
        gamma: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        """epochs: Epochs between two reductions.
        gamma: Factor of each reduction.
        """
        self.interval, self.gamma = epochs * steps_per_epoch, gamma

    def factor(self, step: int) -> float:
        return float(self.gamma ** (step // self.interval))


@schedules.register("multistep")
class MultiStep(Schedule):
    """Multiply the learning rate by `gamma` at each of the `milestones` (epochs)."""

    def __init__(
        self,
        steps_per_epoch: int,
        *,
        milestones: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)],
        gamma: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        """milestones: Epochs after which the learning rate is reduced, in rising order.
        gamma: Factor of each reduction.
        """
        self.borders, self.gamma = [epoch * steps_per_epoch for epoch in milestones], gamma

    def factor(self, step: int) -> float:
        return float(self.gamma ** sum(step >= border for border in self.borders))


class Annealed(Schedule):
    """A curve over the fraction of steps done after the warm-up."""

    def __init__(self, total_steps: int, warmup_steps: int) -> None:
        self.first, self.span = warmup_steps, max(total_steps - warmup_steps, 1)

    def factor(self, step: int) -> float:
        return self.curve(min(max(step - self.first, 0) / self.span, 1.0))

    def curve(self, done: float) -> float:
        """The factor when the fraction `done` (0..1) of the steps is done."""
        raise NotImplementedError


@schedules.register("cosine")
class Cosine(Annealed):
    """Decay along half a cosine to `final` times the rate (Loshchilov & Hutter 2017)."""

    def __init__(self, total_steps: int, warmup_steps: int, *, final: Fraction = 0.0) -> None:
        """final: Fraction of the full learning rate that is left at the end."""
        super().__init__(total_steps, warmup_steps)
        self.final = final

    def curve(self, done: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


@schedules.register("linear")
class Linear(Annealed):
    """Linear decay to `final` times the learning rate."""

    def __init__(self, total_steps: int, warmup_steps: int, *, final: Fraction = 0.0) -> None:
        """final: Fraction of the full learning rate that is left at the end."""
        super().__init__(total_steps, warmup_steps)
        self.final = final

    def curve(self, done: float) -> float:
        return 1 - (1 - self.final) * done


@schedules.register("one_cycle")
class OneCycle(Schedule):
    """Rise to the full learning rate, then decay to almost zero (Smith & Topin 2018)."""

    def __init__(
        self,
        total_steps: int,
        warmup_steps: int,
        *,
        rise: Annotated[float, Field(gt=0, lt=1)] = 0.3,
        start: Annotated[float, Field(gt=0, le=1)] = 0.04,
        final: Fraction = 4e-6,
    ) -> None:
        """rise: Fraction of the steps that lead up to the full learning rate.
        start: Fraction of the full learning rate to start with.
        final: Fraction of the full learning rate to end with.
        """
        self.first, self.last = warmup_steps, max(total_steps - warmup_steps, 2) - 1
        self.peak = rise * (self.last + 1) - 1
        self.start, self.final = start, final

    def factor(self, step: int) -> float:
        at = max(step - self.first, 0)
        if at < self.peak:
            return _cosine_between(self.start, 1.0, at / self.peak)
        share = (at - self.peak) / (self.last - self.peak)
        return _cosine_between(1.0, self.final, min(share, 1.0))


def _cosine_between(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


@schedules.register("plateau")
class Plateau(Schedule):
    """Multiply by `gamma` after more than `patience` epochs without a lower validation loss."""

    def __init__(
        self,
        *,
        gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        patience: Annotated[int, Field(ge=0)] = 10,
        threshold: Fraction = 1e-4,
        final: Fraction = 0.0,
    ) -> None:
        """gamma: Factor of each reduction.
        patience: Epochs without a lower validation loss before the learning rate is reduced.
        threshold: Fraction of the best loss by which a lower one must beat it.
        final: Fraction of the full learning rate below which it is never reduced.
        """
        self.gamma, self.patience, self.threshold, self.final = gamma, patience, threshold, final
        self.best, self.bad_epochs, self.current = math.inf, 0, 1.0

    def factor(self, step: int) -> float:  # noqa: ARG002
        return self.current

    def observe(self, value: float) -> None:
        if value < self.best * (1 - self.threshold):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.current, self.bad_epochs = max(self.current * self.gamma, self.final), 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "bad_epochs": self.bad_epochs, "current": self.current}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.bad_epochs = state["best"], state["bad_epochs"]
        self.current = state["current"]
