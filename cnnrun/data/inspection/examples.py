"""Duplicate images, to show with a report on a data set."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cnnrun.data.dataset import Dataset
from cnnrun.data.inspection.places import Place
from cnnrun.data.inspection.report import Report

Pair = tuple[Place, Place]


def example_pairs(
    dataset: Dataset, report: Report, most: int = 8
) -> tuple[NDArray[np.float32], list[str]]:
    """The worst pairs: (P, 2, C, H, W) in 0..1, and P captions of two lines; P is at most `most`.

    Those in two splits come first, then those with two labels; exact copies before near ones.
    """
    pairs = [_worst_of(group) for group in report["exact"]["images"]]
    pairs += [(first, second) for first, second in report["near"]["images"]]
    worst = sorted(pairs, key=_harmless)[:most]
    shape = (len(worst), 2, *dataset.input_shape)
    images = np.zeros(shape, np.float32)
    for row, pair in zip(images, worst, strict=True):
        row[:] = [_image(dataset, place) for place in pair]
    return images, ["\n".join(map(_caption, pair)) for pair in worst]


def _worst_of(group: list[Place]) -> Pair:
    """The first of a group, and one of another split or, failing that, of another class."""
    first, *others = group
    return first, min(others, key=lambda other: _harmless((first, other)))


def _harmless(pair: Pair) -> tuple[bool, bool]:
    """Sort key: harmful ones first."""
    first, second = pair
    return first["split"] == second["split"], first["class"] == second["class"]


def _image(dataset: Dataset, place: Place) -> NDArray[np.float32]:
    images = dataset.split(place["split"]).images[torch.tensor([place["index"]])]
    return images[0].cpu().float().div(255).numpy()


def _caption(place: Place) -> str:
    return f"{place['split']} {place['index']}: {place['class']}"
