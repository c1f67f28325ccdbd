"""Augmentations that mix two images of a batch, and their labels with them."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.base import (
    Draws,
    Mixing,
    Probability,
    per_image,
)
from cnnrun.data.augmentations.rectangles import pixels_inside
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.registry import augmentations

Alpha = Annotated[float, Field(ge=0)]


def symmetric_beta(sampler: Sampler, alpha: float) -> Tensor:
    """(N,) float32 from Beta(alpha, alpha); for alpha 0 all are 1.

    The exact one-line method of Devroye (1996), which needs no rejection and so no host sync: a
    symmetric beta variate is a function of a t variate, which is one of two uniforms. torch's own
    sampler takes no generator.
    """
    if alpha == 0:
        return torch.ones(sampler.count, device=sampler.device)
    power = (1 - sampler.uniform(0, 1)) ** (1 / alpha)
    cosine = (2 * math.pi * sampler.uniform(0, 1)).cos()
    spread = (1 - power) * cosine**2
    return 0.5 + 0.5 * cosine.sign() * (spread / (spread + power)).sqrt()


def partners(values: Tensor) -> Tensor:
    """For each image (or target) of a batch, the one it is mixed with: its neighbour.

    The order of a training batch is already random.
    """
    return values.roll(1, 0)


@augmentations.register("mixup")
class Mixup(Mixing):
    """Blend two images and their targets, weight from Beta(alpha, alpha) (Zhang et al. 2017)."""

    def __init__(self, *, alpha: Alpha = 0.2, probability: Probability = 1.0) -> None:
        """alpha: Of the beta distribution: 0.2 mixes few images evenly, 1 draws any weight."""
        self.alpha, self.probability = alpha, probability

    def draw(self, sampler: Sampler) -> Draws:
        shares = symmetric_beta(sampler, self.alpha)
        return {"share": sampler.sometimes(self.probability, shares, 1)}

    def apply(self, images: Tensor, targets: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        share = draws["share"]
        images = torch.lerp(partners(images), images, per_image(share))
        return images, torch.lerp(partners(targets), targets, share.unsqueeze(1))


@augmentations.register("cutmix")
class Cutmix(Mixing):
    """Paste a rectangle of another image, of area 1 - Beta(alpha, alpha) (Yun et al., 2019).

    Its centre is any pixel; labels are weighted by its area inside the image.
    """

    def __init__(self, *, alpha: Alpha = 1.0, probability: Probability = 1.0) -> None:
        """alpha: Of the beta distribution: with 1 all areas are equally likely."""
        self.alpha, self.probability = alpha, probability

    def draw(self, sampler: Sampler) -> Draws:
        shares = symmetric_beta(sampler, self.alpha)
        side = (1 - sampler.sometimes(self.probability, shares, 1)).sqrt()
        wide, high = (side * sampler.width).round(), (side * sampler.height).round()
        return {
            "left": sampler.integers(0, sampler.width - 1) - (wide / 2).floor(),
            "top": sampler.integers(0, sampler.height - 1) - (high / 2).floor(),
            "width": wide,
            "height": high,
        }

    def apply(self, images: Tensor, targets: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        pasted = pixels_inside(draws, *images.shape[-2:])
        images = torch.where(pasted, partners(images), images)
        share = 1 - pasted.float().mean((1, 2, 3))
        return images, torch.lerp(partners(targets), targets, share.unsqueeze(1))
