"""Batches of a split: one index_select each where the pictures lie in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnrun.data.dataset import Split


class Batches:
    """A split, cut into batches on a device in the order that is asked for."""

    def __init__(self, split: Split, batch_size: int, device: torch.device) -> None:
        self.device = device
        self.images = split.images
        if isinstance(self.images, Tensor):
            self.images = self.images.to(device)
        self.labels = split.labels.to(device)
        self.borders = batch_borders(len(split), batch_size)

    def __len__(self) -> int:
        """Batches in one pass."""
        return len(self.borders) - 1

    @property
    def samples(self) -> int:
        return len(self.labels)

    def iterate(
        self, order: Tensor | None = None, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images (B, C, H, W) uint8, labels (B,) int64) from batch number `start` on.

        order: (N,) int64, a permutation of the samples; without it they come as they lie.
        """
        if order is None:
            order = torch.arange(self.samples)
        order = order.to(self.labels.device)
        for first, last in zip(self.borders[start:], self.borders[start + 1 :], strict=False):
            chosen = order[first:last]
            if isinstance(self.images, Tensor):
                images = self.images.index_select(0, chosen)
            else:
                images = self.images[chosen.cpu()].to(self.device)
            yield images, self.labels.index_select(0, chosen)


def batch_borders(count: int, batch_size: int) -> list[int]:
    """Where batches begin and end: 0, B, 2B, ..., count.

    A last batch of one sample joins the batch before it, as batch normalization can't train on
    a single value per channel.
    """
    borders = [*range(0, count, batch_size), count]
    if batch_size > 1 and len(borders) > 2 and borders[-1] - borders[-2] == 1:
        del borders[-2]
    return borders
