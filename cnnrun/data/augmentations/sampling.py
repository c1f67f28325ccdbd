"""Random numbers for the images of a batch, from one generator on their device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """Draws a number for each of `count` images of `height` x `width` pixels.

    samples: (count,) int64, indices of the training images; epoch: from 0; for augmentations that
        alternate instead of drawing. None where images are only shown.
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
        """`values` (count,) with `probability`, else `neutral`, which changes nothing."""
        if probability == 1:
            return values
        return torch.where(self.chance(probability), values, neutral)
