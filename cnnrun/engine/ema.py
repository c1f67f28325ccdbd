"""A running average of the weights, which often scores better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class AverageWeights:
    """Exponential moving average of a model's weights and buffers (Polyak & Juditsky 1992).

    The decay rises to its value as (1 + step) / (10 + step), so that the early, bad weights are
    soon forgotten. Integers (batch normalization's count of batches) are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._own = [t for t in model.state_dict().values() if t.is_floating_point()]
        self._averages = [t.clone() for t in self._own]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after optimizer step number `step`, from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._own, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has its averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for own, average in zip(self._own, self._averages, strict=True):
            kept = own.clone()
            own.copy_(average)
            average.copy_(kept)

    @torch.no_grad()
    def restart(self, epochs: int = 0) -> None:  # noqa: ARG002
        """Restart the average from the model's present weights; `epochs` don't matter here."""
        for own, average in zip(self._own, self._averages, strict=True):
            average.copy_(own)

    def resume(self, done: int) -> str:  # noqa: ARG002
        """Called when a run is resumed after `done` epochs; returns a note for the user."""
        return ""

    def end_epoch(self, epoch: int) -> int:  # noqa: ARG002
        """Called after epoch number `epoch`, from 0; returns the number of averaged epochs."""
        return 0
