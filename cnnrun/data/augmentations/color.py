"""Augmentations of brightness and color. Values stay in 0..1; gray images have no color to change.

torchvision has these operations too, but with one factor for a whole batch; image by image its
kernels take several times as long (`benchmarks/augmentation.py`).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.base import (
    Draws,
    Photometric,
    Probability,
    per_image,
)
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.errors import UserError
from cnnrun.registry import augmentations

Amount = Annotated[float, Field(ge=0)]
HueAmount = Annotated[float, Field(ge=0, le=0.5)]


def luminance(images: Tensor) -> Tensor:
    """(N, 1, H, W): ITU-R 601-2 luma, the gray of Pillow."""
    if images.shape[1] == 1:
        return images
    red, green, blue = _red_green_blue(images)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _red_green_blue(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The channels of (N, 3, H, W), each (N, 1, H, W).

    Raises:
        UserError: the images are of other channels.
    """
    if images.shape[1] != 3:
        message = (
            f"augment: these images have {images.shape[1]} channels, and contrast, saturation, "
        )
        raise UserError(message + "hue and gray need RGB images; leave them out")
    red, green, blue = torch.split(images, 1, 1)
    return red, green, blue


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply by `factors` (N,): 0 is black, 1 no change."""
    return (images * per_image(factors)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance from each image's mean gray by `factors` (N,)."""
    mean = luminance(images).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, per_image(factors)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance of each pixel from its gray by `factors` (N,): 0 is gray."""
    if images.shape[1] == 1:
        return images
    return torch.lerp(luminance(images), images, per_image(factors)).clamp_(0, 1)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue by `turns` (N,), -0.5..0.5, at constant HSV saturation and value."""
    if images.shape[1] == 1:
        return images
    red, green, blue = _red_green_blue(images)
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    divisor = chroma.clamp_min(1e-12)
    # The hue in sixths of a turn, by which of the three is the largest.
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = hue + 6 * per_image(turns)
    offsets = 5 - 2 * torch.arange(3, device=images.device).view(1, 3, 1, 1)
    sector = (hue + offsets).remainder_(6)
    return value - chroma * torch.minimum(sector, 4 - sector).clamp_(0, 1)


def draw_factors(sampler: Sampler, amount: float) -> Tensor:
    """(N,) factors from 1 - amount (but at least 0) to 1 + amount."""
    return sampler.uniform(max(0.0, 1 - amount), 1 + amount)


class _Adjustment(Photometric):
    def __init__(self, *, amount: Amount = 0.2, probability: Probability = 1.0) -> None:
        """amount: Largest change of the factor; 0.2 is from 0.8 to 1.2."""
        self.amount, self.probability = amount, probability

    def draw(self, sampler: Sampler) -> Draws:
        factors = draw_factors(sampler, self.amount)
        return {"factor": sampler.sometimes(self.probability, factors, 1)}


@augmentations.register("brightness")
class Brightness(_Adjustment):
    """Multiply by a factor from 1 - amount to 1 + amount."""

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return adjust_brightness(images, draws["factor"])


@augmentations.register("contrast")
class Contrast(_Adjustment):
    """Scale the distance from the mean gray by a factor from 1 - amount to 1 + amount."""

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return adjust_contrast(images, draws["factor"])


@augmentations.register("saturation")
class Saturation(_Adjustment):
    """Scale the saturation by a factor from 1 - amount to 1 + amount."""

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return adjust_saturation(images, draws["factor"])


@augmentations.register("hue")
class Hue(Photometric):
    """Rotate the hue by up to `amount` of a full turn, either way."""

    def __init__(self, *, amount: HueAmount = 0.05, probability: Probability = 1.0) -> None:
        """amount: Largest rotation either way; 0.5 is half of the color wheel."""
        self.amount, self.probability = amount, probability

    def draw(self, sampler: Sampler) -> Draws:
        turns = sampler.uniform(-self.amount, self.amount)
        return {"turns": sampler.sometimes(self.probability, turns, 0)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return adjust_hue(images, draws["turns"])


@augmentations.register("color_jitter")
class ColorJitter(Photometric):
    """Change brightness, contrast, saturation and hue, in this order."""

    def __init__(
        self,
        *,
        brightness: Amount = 0.4,
        contrast: Amount = 0.4,
        saturation: Amount = 0.4,
        hue: HueAmount = 0.1,
        probability: Probability = 1.0,
    ) -> None:
        """brightness: Largest change of the brightness factor.
        contrast: Largest change of the contrast factor.
        saturation: Largest change of the saturation factor.
        hue: Largest rotation of the hue; 0.5 is half of the color wheel.
        """
        self.factors = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.hue, self.probability = hue, probability

    def draw(self, sampler: Sampler) -> Draws:
        changed = sampler.chance(self.probability)
        draws = {
            name: torch.where(changed, draw_factors(sampler, amount), 1.0)
            for name, amount in self.factors.items()
        }
        return draws | {"hue": changed * sampler.uniform(-self.hue, self.hue)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        images = adjust_brightness(images, draws["brightness"])
        images = adjust_contrast(images, draws["contrast"])
        images = adjust_saturation(images, draws["saturation"])
        return adjust_hue(images, draws["hue"]) if self.hue else images


@augmentations.register("grayscale")
class Grayscale(Photometric):
    """Convert a fraction of the images to gray."""

    def __init__(self, *, probability: Probability = 0.1) -> None:
        self.probability = probability

    def draw(self, sampler: Sampler) -> Draws:
        return {"gray": sampler.chance(self.probability)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return adjust_saturation(images, 1 - draws["gray"].float())
