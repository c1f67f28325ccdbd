"""A task's own training step, and its hooks between steps and epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MakeOptimizer = Callable[..., torch.optim.Optimizer]
"""`make(parameters, lr=...)`: the config's optimizer for these, with some keys changed."""


@dataclass
class TrainingStep(ABC):
    """One batch and the pieces of a step: all that a `train_step` needs.

    Gradients are zero when it starts. It works with several processes (each has its part of the
    batch), mixed precision and clipping; `training.accumulate`, `auto_batch`, `compile`, `on_nan:
    skip` and fp16 can't be combined with it.
    """

    model: nn.Module
    loss: nn.Module
    # (N, C, H, W) float32, normalized, and targets (N, ...), as `Task.step` gets them.
    inputs: Tensor
    targets: Tensor
    # The index of the step, from 0.
    number: int
    # Those that `Task.optimizers` returned, by name; else one, called "".
    optimizers: Mapping[str, torch.optim.Optimizer]

    @abstractmethod
    def forward(
        self, inputs: Tensor | None = None, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the task's `step` gives for the batch, or others: losses (N,), outputs (N, ...)."""

    @abstractmethod
    def autocast(self) -> AbstractContextManager[Any]:
        """Within it the model computes in the precision of `training.amp`, as `forward` does."""

    @abstractmethod
    def evaluating(self) -> AbstractContextManager[None]:
        """Within it the model is in eval mode: no dropout, running statistics unchanged."""

    @abstractmethod
    def backward(self, losses: Tensor) -> None:
        """Add to the gradients those of the mean of `losses` (N,) or (), over all processes."""

    @abstractmethod
    def zero_grad(self) -> None:
        """Clear all gradients."""

    @abstractmethod
    def update(self, *optimizers: str) -> None:
        """Clip the gradients and step all optimizers, or those named."""

    def minimize(self, losses: Tensor, *optimizers: str) -> None:
        """A plain step by the mean of `losses` (N,) or (): `zero_grad`, `backward`, `update`."""
        self.zero_grad()
        self.backward(losses)
        self.update(*optimizers)

    @abstractmethod
    def record(self, losses: Tensor, outputs: Tensor) -> None:
        """Record losses and outputs, see `Task.sums`; call it once, for all N of the batch."""

    @abstractmethod
    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels (N, C, H, W) float32 in 0..1 as the model's input; differentiable."""

    @abstractmethod
    def pixels(self) -> Tensor:
        """The inputs as pixels (N, C, H, W) float32 in 0..1."""


class OwnTraining:
    """Optional hooks of a task, in addition to `Task.step`."""

    def train_step(self, step: TrainingStep) -> None:
        """One training step, where forward, backward and update are not enough."""
        losses, outputs = step.forward()
        step.minimize(losses)
        step.record(losses, outputs)

    def optimizers(
        self,
        model: nn.Module,  # noqa: ARG002
        make: MakeOptimizer,  # noqa: ARG002
    ) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by name, each for some parameters of `model`; {} means the config's for all.

        They follow the schedule, each from its own rate, and are kept in checkpoints.
        """
        return {}

    def epoch_figures(self) -> dict[str, float]:
        """The task's own numbers for the epoch's line in the log, by name; called once per epoch.

        With many processes the log has their mean: each must give the same names.

        What accumulates over epochs belongs in `Task.state`, or a resumed run loses it.
        """
        return {}

    def why_stop(self, row: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Why training should stop after this epoch; "" to continue.

        row: the epoch's line in the log: `epoch`, `train_loss`, `validation_accuracy` ...
        """
        return ""


def steps_itself(task: OwnTraining) -> bool:
    """Whether the task has a training step of its own."""
    return type(task).train_step is not OwnTraining.train_step


def parameters_of(given: nn.Module | Iterable[Tensor]) -> list[Tensor]:
    """Those parameters that train."""
    found = given.parameters() if isinstance(given, nn.Module) else given
    return [parameter for parameter in found if parameter.requires_grad]
