"""Policies that choose among fourteen operations for each image, without a search.

Operations and ranges are torchvision's, except that shearing is about the centre.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.augmentations.base import (
    Draws,
    Interpolation,
    Policy,
    Probability,
    apply_where_,
    identity,
)
from cnnrun.data.augmentations.color import adjust_brightness, adjust_contrast, adjust_saturation
from cnnrun.data.augmentations.geometric import rotations, shifts
from cnnrun.data.augmentations.resampling import Warp, resample
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.augmentations.tone import autocontrast, equalize, posterize, sharpen, solarize
from cnnrun.registry import augmentations

# Each operation has one value per image: degrees, pixels, a fraction; 0 changes nothing.
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
PHOTOMETRIC = {
    "brightness": lambda images, value: adjust_brightness(images, 1 + value),
    "contrast": lambda images, value: adjust_contrast(images, 1 + value),
    "saturation": lambda images, value: adjust_saturation(images, 1 + value),
    "sharpness": lambda images, value: sharpen(images, 1 + value),
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": lambda images, _: autocontrast(images),
    "equalize": lambda images, _: equalize(images),
}
OPERATIONS = ("identity", *GEOMETRIC, *PHOTOMETRIC)
SIGNED = {*GEOMETRIC, "brightness", "contrast", "saturation", "sharpness"}


class _ChooseOperations(Policy):
    """Applies `num_ops` operations in turn, each drawn uniformly for each image."""

    num_ops: int
    probability: float

    @abstractmethod
    def limits(self, height: int, width: int) -> dict[str, float]:
        """The largest value of each operation."""

    @abstractmethod
    def draw_strength(self, sampler: Sampler) -> Tensor:
        """(N,) fractions, 0..1, of the largest value."""

    def draw(self, sampler: Sampler) -> Draws:
        changed = sampler.chance(self.probability)
        draws = {}
        for slot in range(self.num_ops):
            chosen = changed * sampler.integers(0, len(OPERATIONS) - 1)
            draws[f"operation_{slot}"] = chosen
            draws[f"value_{slot}"] = self._draw_value(sampler, chosen)
        return draws

    def _draw_value(self, sampler: Sampler, chosen: Tensor) -> Tensor:
        strength = self.draw_strength(sampler)
        sign = 2.0 * sampler.chance(0.5) - 1
        value = torch.zeros(sampler.count, device=sampler.device)
        for name, limit in self.limits(sampler.height, sampler.width).items():
            values = strength * limit * (sign if name in SIGNED else sign.abs())
            value = torch.where(chosen == OPERATIONS.index(name), values, value)
        return value

    def apply(self, images: Tensor, draws: Draws, interpolation: Interpolation) -> Tensor:
        images = images.clone()
        for slot in range(self.num_ops):
            chosen, value = draws[f"operation_{slot}"], draws[f"value_{slot}"]
            images = _apply_chosen_(images, chosen, value, interpolation)
        return images

    def describe(self, draws: Draws) -> list[str]:
        texts = []
        for row in zip(*(values.tolist() for values in draws.values()), strict=True):
            pairs = zip(row[::2], row[1::2], strict=True)
            texts.append(", ".join(f"{OPERATIONS[number]} {value:.3g}" for number, value in pairs))
        return texts


@augmentations.register("randaugment")
class RandAugment(_ChooseOperations):
    """Apply some of 14 operations to each image, all at one strength (Cubuk et al. 2019)."""

    def __init__(
        self,
        *,
        num_ops: Annotated[int, Field(ge=1)] = 2,
        magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
        probability: Probability = 1.0,
    ) -> None:
        """num_ops: Operations applied to each image, one after the other.
        magnitude: 0 (nothing) to 30 (rotation by 30 degrees, brightness by 90 % ...).
        """
        self.num_ops, self.magnitude, self.probability = num_ops, magnitude, probability

    def limits(self, height: int, width: int) -> dict[str, float]:
        return {
            "rotate": 30.0,
            "shear_x": 0.3,
            "shear_y": 0.3,
            "translate_x": 150 / 331 * width,
            "translate_y": 150 / 331 * height,
            "brightness": 0.9,
            "contrast": 0.9,
            "saturation": 0.9,
            "sharpness": 0.9,
            "posterize": 4.0,
            "solarize": 1.0,
        }

    def draw_strength(self, sampler: Sampler) -> Tensor:
        return torch.full((sampler.count,), self.magnitude / 30, device=sampler.device)


@augmentations.register("trivial_augment")
class TrivialAugment(_ChooseOperations):
    """Apply one of 14 operations to each image, at a random strength (Müller & Hutter 2021).

    The paper's "wide" ranges, up to rotation by 135 degrees and translation by 32 pixels.
    """

    num_ops = 1

    def __init__(self, *, probability: Probability = 1.0) -> None:
        self.probability = probability

    def limits(self, height: int, width: int) -> dict[str, float]:
        return {
            "rotate": 135.0,
            "shear_x": 0.99,
            "shear_y": 0.99,
            "translate_x": min(32.0, width),
            "translate_y": min(32.0, height),
            "brightness": 0.99,
            "contrast": 0.99,
            "saturation": 0.99,
            "sharpness": 0.99,
            "posterize": 6.0,
            "solarize": 1.0,
        }

    def draw_strength(self, sampler: Sampler) -> Tensor:
        return sampler.integers(0, 30) / 30


def _apply_chosen_(
    images: Tensor, chosen: Tensor, value: Tensor, interpolation: Interpolation
) -> Tensor:
    """Operation number `chosen` (N,) with `value` (N,) on each image; may write into them."""
    first, *_, last = (OPERATIONS.index(name) for name in GEOMETRIC)
    moved = (first <= chosen) & (chosen <= last)
    move = partial(_move, interpolation=interpolation)
    images = apply_where_(moved, images, move, chosen, value)
    for name, operation in PHOTOMETRIC.items():
        images = apply_where_(chosen == OPERATIONS.index(name), images, operation, value)
    return images


def _move(images: Tensor, chosen: Tensor, value: Tensor, interpolation: Interpolation) -> Tensor:
    """The chosen geometric operation on each image, as a matrix."""

    def of(name: str) -> Tensor:
        return torch.where(chosen == OPERATIONS.index(name), value, 0)

    shear = identity(value)
    shear[:, 0, 1], shear[:, 1, 0] = of("shear_x"), of("shear_y")
    shift = shifts(of("translate_x"), of("translate_y"))
    return resample(images, [Warp(rotations(of("rotate")) @ shear @ shift)], interpolation)
