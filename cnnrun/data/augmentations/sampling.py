"""Random numbers for the images of a batch, all from one generator on the images' device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """Draws a number for each of `count` images of `height` x `width` pixels.

    samples: (count,) int64, which training images these are, and epoch: from 0; for what is not
        drawn but takes turns. None where images are only looked at.
    """

    count: int
    height: int
    width: int
    generator: torch.Generator
    samples: Tensor | None = None
    epoch: int = 0

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def uniform(self, low: float, high: float) -> Tensor:
        """(count,) float32 from low..high."""
        return torch.empty(self.count, device=self.device).uniform_(
            low, high, generator=self.generator
        )

    def integers(self, low: int, high: int) -> Tensor:
        """(count,) int64 from low..high, both included."""
        return torch.randint(
            low, high + 1, (self.count,), device=self.device, generator=self.generator
        )

    def chance(self, probability: float) -> Tensor:
        """(count,) bool, each True with `probability`."""
        return self.uniform(0, 1) < probability

    def sometimes(self, probability: float, values: Tensor, neutral: float) -> Tensor:
        """`values` (count,) with `probability`, and else `neutral`, which changes nothing."""
        if probability == 1:
            return values
        return torch.where(self.chance(probability), values, neutral)
