"""How a classifier's accuracy falls as the test images are rotated, scaled and shifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnrun.data.augmentations.base import identity
from cnnrun.data.augmentations.geometric import rotations, shifts
from cnnrun.data.augmentations.resampling import Warp, resample
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import evaluation_batches
from cnnrun.errors import UserError

Change = Literal["rotation", "scale", "shift"]

AMOUNTS: dict[Change, tuple[float, ...]] = {
    "rotation": (-60, -45, -30, -20, -10, 0, 10, 20, 30, 45, 60),
    "scale": (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.15, 1.3, 1.5),
    "shift": (-0.25, -0.19, -0.125, -0.06, 0, 0.06, 0.125, 0.19, 0.25),
}
"""Degrees counter-clockwise; factors of the size; fractions of the width, to the right."""

UNTOUCHED: dict[Change, float] = {"rotation": 0, "scale": 1, "shift": 0}
"""The amount that changes nothing."""


@dataclass(frozen=True)
class Curve:
    """The accuracy (0..1) at each amount of a change."""

    change: Change
    amounts: tuple[float, ...]
    accuracies: NDArray[np.float64]

    @property
    def drop(self) -> float:
        """How far the mean over all amounts lies below the accuracy on untouched images."""
        untouched = self.accuracies[self.amounts.index(UNTOUCHED[self.change])]
        return float(untouched - self.accuracies.mean())

    def to_dict(self) -> dict[str, float]:
        """The accuracy by amount, as JSON has it."""
        return {f"{a:g}": float(s) for a, s in zip(self.amounts, self.accuracies, strict=True)}


@torch.no_grad()
def invariance(parts: Parts, count: int = 1000) -> list[Curve]:
    """The curves of a trained classifier, on `count` test images evenly spread over the split.

    Raises:
        UserError: the model does not classify, or there are no test images.
    """
    if parts.experiment.task.name != "classify":
        raise UserError("invariance needs a classifier: it is the accuracy on moved images")
    if not len(parts.dataset.test):
        raise UserError("the test split is empty")
    parts.model.eval()
    images, labels = _some_of_the_test_split(parts, count)
    found = []
    for change, amounts in AMOUNTS.items():
        shares = [_accuracy(parts, images, labels, change, amount) for amount in amounts]
        found.append(Curve(change, amounts, np.array(shares)))
    return found


def _some_of_the_test_split(parts: Parts, count: int) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) uint8 and (N,) labels, where the model is."""
    batches = list(evaluation_batches(parts, "test").iterate())
    images = torch.cat([batch for batch, _ in batches])
    labels = torch.cat([batch for _, batch in batches])
    chosen = torch.linspace(0, len(images) - 1, min(count, len(images)), device=images.device)
    return images[chosen.long()], labels[chosen.long()]


def _accuracy(parts: Parts, images: Tensor, labels: Tensor, change: Change, amount: float) -> float:
    right = 0
    for some, true in zip(torch.split(images, 500), torch.split(labels, 500), strict=True):
        moved = move(some, change, amount)
        predicted = parts.model(parts.pipeline.normalize(moved)).argmax(1)
        right += int((predicted == true).sum())
    return right / len(images)


def move(images: Tensor, change: Change, amount: float) -> Tensor:
    """All `images` (N, C, H, W) uint8 changed alike, bilinear, with black borders: float32 0..1."""
    amounts = torch.full((len(images),), float(amount), device=images.device)
    if change == "rotation":
        matrices = rotations(amounts)
    elif change == "shift":
        matrices = shifts(amounts * images.shape[-1], torch.zeros_like(amounts))
    else:
        matrices = identity(amounts)
        matrices[:, 0, 0] = matrices[:, 1, 1] = 1 / amounts.to(matrices.dtype)
    return resample(images, [Warp(matrices)], "bilinear")
