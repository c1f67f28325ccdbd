"""Batches whose targets are the images themselves: clean pixels out, perhaps noisy inputs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cnnrun.data.augmentations.resampling import to_unit
from cnnrun.data.pipeline import Pipeline

# Fixed noise patterns of an evaluation.
_PATTERNS = 64


@dataclass(frozen=True)
class Noise:
    """What makes inputs noisy.

    kind: `gaussian` adds noise of standard deviation `strength` (pixels are 0..1); `masking` sets
        the share `strength` of all pixels to 0 (Vincent et al. 2008).
    """

    kind: Literal["gaussian", "masking"]
    strength: float

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Numbers from which `add` makes the noise: (N, C, H, W) float32, where `generator` is."""
        if self.kind == "gaussian":
            return torch.randn(shape, generator=generator, device=generator.device)
        # A pixel is masked in all its channels.
        one_channel = (shape[0], 1, *shape[2:])
        return torch.rand(one_channel, generator=generator, device=generator.device)

    def add(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Noisy images: (N, C, H, W) float32 in 0..1."""
        if self.kind == "gaussian":
            return (pixels + self.strength * drawn).clamp(0, 1)
        return pixels * (drawn >= self.strength)


class PixelPipeline(Pipeline):
    """Gives the augmented images as targets, and the same with noise, normalized, as inputs."""

    noise: Noise | None = None  # set once, when the experiment is built

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
        samples: Tensor | None = None,
        epoch: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Inputs and pixels, both (N, C, H, W) float32; see `Pipeline.__call__`."""
        pixels, noisy = self.pixels(images, labels, generator, samples, epoch)
        return self.normalize(noisy), pixels

    @property
    def draws(self) -> bool:
        return super().draws or self.noise is not None

    def pixels(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
        samples: Tensor | None = None,
        epoch: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """The target images and the input images: (N, C, H, W) float32, 0..1."""
        patterns = None if generator else self._patterns_of(images)
        if generator and self.augmentations:
            images, _, _ = self._augment(images, labels, generator, samples, epoch)
        pixels = to_unit(images)
        if self.noise is None:
            return pixels, pixels
        if generator:
            patterns = self.noise.draw(tuple(pixels.shape), generator)
        assert patterns is not None
        return pixels, self.noise.add(pixels, patterns)

    def _patterns_of(self, images: Tensor) -> Tensor | None:
        """Noise of an evaluation: which fixed pattern an image gets follows from its own bytes.

        So neither the batch size nor the order of the images changes a figure.
        """
        if self.noise is None:
            return None
        generator = torch.Generator().manual_seed(0)
        patterns = self.noise.draw((_PATTERNS, *images.shape[1:]), generator).to(images.device)
        return patterns[images.flatten(1).sum(1, dtype=torch.int64) % _PATTERNS]
