"""Blurring."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.base import (
    PAIR,
    Draws,
    Photometric,
    Probability,
    apply_where_,
    ordered,
)
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.registry import augmentations

Sigmas = Annotated[list[Annotated[float, Field(ge=0)]], PAIR]


def gaussian_blur(images: Tensor, sigmas: Tensor, radius: int) -> Tensor:
    """Blur with `sigmas` (N,) pixels; weights further than `radius` pixels away are cut off.

    The border is mirrored. One axis after the other, all images as channels of one convolution with
    a kernel each.
    """
    count, channels, height, width = images.shape
    steps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    # A sigma of 0 would be 0 / 0; a tiny one leaves the image bit-identical.
    weights = (-0.5 * (steps / sigmas.clamp_min(1e-6).view(-1, 1)) ** 2).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = images.reshape(1, count * channels, height, width)
    planes = F.pad(planes, (radius, radius, radius, radius), "reflect")
    planes = F.conv2d(planes, weights[:, None, None, :], groups=count * channels)
    planes = F.conv2d(planes, weights[:, None, :, None], groups=count * channels)
    return planes.view_as(images)


@augmentations.register("blur")
class Blur(Photometric):
    """Gaussian blur; the standard deviation is in pixels."""

    def __init__(self, *, sigma: Sigmas = [0.1, 1.0], probability: Probability = 0.5) -> None:
        """sigma: Smallest and largest standard deviation, in pixels."""
        self.sigma = ordered("sigma", sigma)
        self.probability = probability

    def draw(self, sampler: Sampler) -> Draws:
        sigmas = sampler.uniform(*self.sigma)
        return {"sigma": sampler.sometimes(self.probability, sigmas, 0)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        # Reflection padding must be smaller than the image.
        radius = min(math.ceil(3 * self.sigma[1]), *(length - 1 for length in images.shape[-2:]))
        sigmas = draws["sigma"]
        blur = partial(gaussian_blur, radius=radius)
        return apply_where_(sigmas > 0, images.clone(), blur, sigmas)
