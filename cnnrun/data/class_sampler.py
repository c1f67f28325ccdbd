"""The training images of an epoch, with rare classes drawn more often."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.options import Sampler
from cnnrun.data.splits import allocate
from cnnrun.data.targets import Labels
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import generator

_INSTEAD = {
    "label_sets": "for rare labels: loss.pos_weight: balanced",
    "masks": "for rare classes of pixels: loss.weight: balanced",
}


def check_sampler(sampler: Sampler, dataset: Dataset) -> None:
    """Refuse a sampler that makes no sense for these data.

    Raises:
        UserError: with what works instead.
    """
    if sampler == "none":
        return
    targets = dataset.train.targets
    if not isinstance(targets, Labels):
        found, instead = targets.kind.replace("_", " "), _INSTEAD.get(targets.kind, "leave it out")
        raise UserError(f"images are drawn by their class, and these data have {found}; {instead}")
    if sampler == "balanced":
        return
    names = dataset.classes
    if len(sampler) != len(names):
        raise UserError(
            f"{len(sampler)} weights for {len(names)} classes; write one for each, in their order"
        )
    if not (torch.tensor(sampler) * targets.counts(len(names))).sum() > 0:
        raise UserError(
            "no training image would ever be drawn; give a weight to a class that has images"
        )


def samples_of_epoch(split: Split, sampler: Sampler, seed: int, epoch: int) -> Tensor | None:
    """The samples of an epoch, some repeated and some left out; None: each once.

    sampler: `balanced`, or how often an image of each class is drawn relative to others. There are
        as many as in the split, with exact class proportions up to rounding. Images of a class are
        drawn equally often, up to one: which come once more is random.

    Returns: (N,) int64 on the CPU, not shuffled.
    """
    if sampler == "none" or not len(split):
        return None
    labels = split.labels
    sizes = np.bincount(labels.numpy())
    parts = sizes > 0 if sampler == "balanced" else sizes * np.array(sampler[: len(sizes)])
    wanted = allocate(parts / parts.sum() * len(labels), len(labels)).tolist()
    random = generator(seed, "class sampler", epoch)
    order = torch.randperm(len(labels), generator=random)
    by_class = torch.split(order[torch.argsort(labels[order], stable=True)], sizes.tolist())
    taken = [
        torch.cat([own.repeat(count // len(own)), own[: count % len(own)]])
        for own, count in zip(by_class, wanted, strict=True)
        if len(own)
    ]
    return torch.cat(taken)
