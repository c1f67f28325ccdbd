"""Augmentations that cover a part of the image."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.base import (
    AreaRange,
    Draws,
    Photometric,
    PositiveRange,
    Probability,
    ordered,
)
from cnnrun.data.augmentations.rectangles import draw_rectangles, pixels_inside
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.registry import augmentations

Gray = Annotated[float, Field(ge=0, le=1)]


def cover(images: Tensor, draws: Draws, fill: float) -> Tensor:
    """The images with their rectangles painted in the gray `fill`."""
    return torch.where(pixels_inside(draws, *images.shape[-2:]), fill, images)


class Cover(Photometric):
    """Covers a rectangle of each image with the gray `fill`."""

    fill: float

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return cover(images, draws, self.fill)

    def describe(self, draws: Draws) -> list[str]:
        corners = zip(*(draws[k].tolist() for k in ("width", "height", "left", "top")), strict=True)
        return [f"{w:g} x {h:g} at {x:g}, {y:g}" if w else "none" for w, h, x, y in corners]


@augmentations.register("cutout")
class Cutout(Cover):
    """Cover a square centred on a random pixel; it may cross the edge (DeVries & Taylor 2017)."""

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=0)] = 8,
        fill: Gray = 0.0,
        probability: Probability = 1.0,
    ) -> None:
        """size: Side of the square, in pixels.
        fill: Gray of the square, 0 (black) to 1 (white).
        """
        self.size, self.fill, self.probability = size, fill, probability

    def draw(self, sampler: Sampler) -> Draws:
        side = self.size * sampler.chance(self.probability)
        return {
            "left": sampler.integers(0, sampler.width - 1) - self.size // 2,
            "top": sampler.integers(0, sampler.height - 1) - self.size // 2,
            "width": side,
            "height": side,
        }


@augmentations.register("erasing")
class Erasing(Cover):
    """Cover a rectangle of random area and aspect ratio (Zhong et al. 2017)."""

    def __init__(
        self,
        *,
        scale: AreaRange = [0.02, 0.33],
        ratio: PositiveRange = [0.3, 3.3],
        fill: Gray = 0.0,
        probability: Probability = 0.5,
    ) -> None:
        """scale: Smallest and largest area, as fractions of the image's.
        ratio: Smallest and largest width / height.
        fill: Gray of the rectangle, 0 (black) to 1 (white).
        """
        self.scale = ordered("scale", scale)
        self.ratio = ordered("ratio", ratio)
        self.fill, self.probability = fill, probability

    def draw(self, sampler: Sampler) -> Draws:
        draws = draw_rectangles(sampler, self.scale, self.ratio)
        erased = sampler.chance(self.probability)
        return draws | {"width": erased * draws["width"], "height": erased * draws["height"]}
