"""Augmentations that move pixels."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.base import (
    AreaRange,
    Draws,
    Geometric,
    PaddingMode,
    PositiveRange,
    Probability,
    identity,
    ordered,
)
from cnnrun.data.augmentations.rectangles import draw_rectangles
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.errors import UserError
from cnnrun.registry import augmentations


def rotations(degrees: Tensor) -> Tensor:
    """Matrices that rotate images counter-clockwise by `degrees` (N,)."""
    matrices = identity(degrees)
    radians = torch.deg2rad(degrees.to(matrices.dtype))
    matrices[:, 0, 0] = matrices[:, 1, 1] = radians.cos()
    matrices[:, 1, 0] = radians.sin()
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def shifts(right: Tensor, down: Tensor) -> Tensor:
    """Matrices that shift images by numbers of pixels (N,)."""
    matrices = identity(right)
    matrices[:, 0, 2], matrices[:, 1, 2] = -right, -down
    return matrices


class _Flip(Geometric):
    axis: int

    def __init__(self, *, probability: Probability = 0.5) -> None:
        self.probability = probability

    def draw(self, sampler: Sampler) -> Draws:
        return {"flipped": sampler.chance(self.probability)}

    def matrices(self, draws: Draws) -> Tensor:
        matrices = identity(draws["flipped"])
        matrices[:, self.axis, self.axis] -= 2 * draws["flipped"]
        return matrices


@augmentations.register("horizontal_flip")
class HorizontalFlip(_Flip):
    """Flip left to right."""

    axis = 0


@augmentations.register("alternating_flip")
class AlternatingFlip(_Flip):
    """Flip left to right in every other epoch, at random in the first one (Jordan 2024)."""

    axis = 0

    def __init__(self) -> None:
        super().__init__()

    def draw(self, sampler: Sampler) -> Draws:
        if sampler.samples is None:
            return super().draw(sampler)
        # One bit of a product with 2^32 over the golden ratio: as good as random, without state.
        first = (sampler.samples * 2654435769 >> 16) & 1
        return {"flipped": ((first + sampler.epoch) % 2 == 1).to(sampler.device, non_blocking=True)}


@augmentations.register("vertical_flip")
class VerticalFlip(_Flip):
    """Flip top to bottom."""

    axis = 1


class _ByDegrees(Geometric):
    """By an angle of up to `degrees` either way."""

    degrees: float
    probability: float

    def draw(self, sampler: Sampler) -> Draws:
        angles = sampler.uniform(-self.degrees, self.degrees)
        return {"degrees": sampler.sometimes(self.probability, angles, 0)}


@augmentations.register("rotation")
class Rotation(_ByDegrees):
    """Rotate about the centre by up to `degrees` either way; the corners become black."""

    def __init__(
        self,
        *,
        degrees: Annotated[float, Field(ge=0, le=180)] = 10.0,
        probability: Probability = 1.0,
    ) -> None:
        """degrees: Largest angle, either way."""
        self.degrees, self.probability = degrees, probability

    def matrices(self, draws: Draws) -> Tensor:
        return rotations(draws["degrees"])


@augmentations.register("translation")
class Translation(Geometric):
    """Shift by whole pixels, up to a fraction of width and height; the gap becomes black."""

    def __init__(
        self,
        *,
        fraction: Annotated[float, Field(ge=0, le=1)] = 0.1,
        probability: Probability = 1.0,
    ) -> None:
        """fraction: Largest shift, as a fraction of the width and of the height."""
        self.fraction, self.probability = fraction, probability

    def draw(self, sampler: Sampler) -> Draws:
        moved = sampler.chance(self.probability)
        right, down = (round(self.fraction * n) for n in (sampler.width, sampler.height))
        return {
            "right": moved * sampler.integers(-right, right),
            "down": moved * sampler.integers(-down, down),
        }

    def matrices(self, draws: Draws) -> Tensor:
        return shifts(draws["right"], draws["down"])


@augmentations.register("scale")
class Scale(Geometric):
    """Zoom in or out about the centre; a smaller image gets a black border."""

    def __init__(
        self,
        *,
        min: Annotated[float, Field(gt=0)] = 0.9,
        max: Annotated[float, Field(gt=0)] = 1.1,
        probability: Probability = 1.0,
    ) -> None:
        """min: Smallest factor; below 1 shrinks.
        max: Largest factor; above 1 enlarges.
        """
        if min > max:
            raise UserError(f"min: {min:g} is larger than max: {max:g}")
        self.min, self.max, self.probability = min, max, probability

    def draw(self, sampler: Sampler) -> Draws:
        factors = sampler.uniform(self.min, self.max)
        return {"factor": sampler.sometimes(self.probability, factors, 1)}

    def matrices(self, draws: Draws) -> Tensor:
        matrices = identity(draws["factor"])
        matrices[:, :2, :2] /= draws["factor"].view(-1, 1, 1)
        return matrices


@augmentations.register("shear")
class Shear(_ByDegrees):
    """Shear horizontally by up to `degrees` either way; the corners become black."""

    def __init__(
        self,
        *,
        degrees: Annotated[float, Field(ge=0, lt=90)] = 10.0,
        probability: Probability = 1.0,
    ) -> None:
        """degrees: Largest slant, either way."""
        self.degrees, self.probability = degrees, probability

    def matrices(self, draws: Draws) -> Tensor:
        matrices = identity(draws["degrees"])
        matrices[:, 0, 1] = torch.deg2rad(draws["degrees"].to(matrices.dtype)).tan()
        return matrices


@augmentations.register("shift_crop")
class ShiftCrop(Geometric):
    """Pad all sides, then crop the original size at random: the usual CIFAR recipe."""

    def __init__(
        self,
        *,
        padding: Annotated[int, Field(ge=0)] = 4,
        padding_mode: PaddingMode = "zeros",
        probability: Probability = 1.0,
    ) -> None:
        """padding: Pixels added on each side.
        padding_mode: What the added pixels hold.
        """
        self.padding, self.padding_mode, self.probability = padding, padding_mode, probability

    def draw(self, sampler: Sampler) -> Draws:
        moved = sampler.chance(self.probability)
        return {
            "right": moved * sampler.integers(-self.padding, self.padding),
            "down": moved * sampler.integers(-self.padding, self.padding),
        }

    def matrices(self, draws: Draws) -> Tensor:
        return shifts(draws["right"], draws["down"])


@augmentations.register("random_resized_crop")
class RandomResizedCrop(Geometric):
    """Crop a random area and aspect ratio, resized to the full size (Szegedy et al. 2014)."""

    # Enlarged border pixels reach half a source pixel beyond the image.
    padding_mode: PaddingMode = "edge"

    def __init__(
        self,
        *,
        scale: AreaRange = [0.08, 1.0],
        ratio: PositiveRange = [3 / 4, 4 / 3],
        probability: Probability = 1.0,
    ) -> None:
        """scale: Smallest and largest area of the crop, as fractions of the image's.
        ratio: Smallest and largest width / height of the crop.
        """
        self.scale, self.ratio = ordered("scale", scale), ordered("ratio", ratio)
        self.probability = probability

    def draw(self, sampler: Sampler) -> Draws:
        part = draw_rectangles(sampler, self.scale, self.ratio)
        cropped = sampler.chance(self.probability)
        height, width = sampler.height, sampler.width
        return {
            "width": torch.where(cropped, part["width"] / width, 1),
            "height": torch.where(cropped, part["height"] / height, 1),
            "right": cropped * (part["left"] + (part["width"] - width) / 2),
            "down": cropped * (part["top"] + (part["height"] - height) / 2),
        }

    def matrices(self, draws: Draws) -> Tensor:
        matrices = identity(draws["width"])
        matrices[:, 0, 0], matrices[:, 1, 1] = draws["width"], draws["height"]
        matrices[:, 0, 2], matrices[:, 1, 2] = draws["right"], draws["down"]
        return matrices
