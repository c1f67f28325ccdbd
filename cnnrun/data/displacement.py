"""Shifted images: data for testing whether a model needs centered ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from cnnrun.data.augmentations.geometric import shifts
from cnnrun.data.augmentations.resampling import Warp, resample
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.pipeline import moved_masks
from cnnrun.data.targets import Masks
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import generator

_AT_ONCE = 2000


def displaced(dataset: Dataset, share: float) -> Dataset:
    """Every image of every split moved by up to `share` of its height and width, black behind it.

    Each image's move is the same in every run, whatever its seed: it belongs to the data.

    Raises:
        UserError: the images are decoded on use, and so can't be moved in advance.
    """
    if not share:
        return dataset

    def move(split: Split, name: str) -> Split:
        if not isinstance(split.images, Tensor):
            raise UserError("displace: only images in memory can be moved; use `augment`")
        if why := split.targets.refuses_moving:
            raise UserError(f"displace: {why} it out")
        targets = split.targets
        if isinstance(targets, Masks):
            targets = Masks(_moved(targets.held, share, name, moved_masks))
        images = _moved(split.images, share, name, _moved_images)
        return replace(split, images=images, targets=targets)

    return replace(
        dataset,
        train=move(dataset.train, "train"),
        test=move(dataset.test, "test"),
        validation=move(dataset.validation, "validation") if dataset.validation else None,
    )


def _moved_images(images: Tensor, warps: list[Warp]) -> Tensor:
    return resample(images, warps, "nearest")


def _moved(
    images: Tensor, share: float, name: str, move: Callable[[Tensor, list[Warp]], Tensor]
) -> Tensor:
    """Images (N, C, H, W) or masks (N, H, W), as `move` moves some of them."""
    count, (height, width) = len(images), images.shape[-2:]
    draws = 2 * torch.rand(count, 2, generator=generator(0, f"displace {name}")) - 1
    moves = (draws * share * torch.tensor([width, height])).round()
    pieces = []
    for start in range(0, count, _AT_ONCE):
        right, down = moves[start : start + _AT_ONCE].unbind(1)
        warp = Warp(shifts(right, down))
        pieces.append(move(images[start : start + _AT_ONCE], [warp]))
    return torch.cat([images[:0], *pieces])
