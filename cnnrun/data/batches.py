"""Batches of a split: one index_select each if the images are in memory, else read ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from cnnrun.data.dataset import Images, ImageSubset, Split
from cnnrun.data.decoding_plan import PIECE, plan
from cnnrun.data.decoding_workers import DecodingWorkers, workers_of
from cnnrun.data.images.files import ImageFiles, empty_images
from cnnrun.data.images.framing import RandomCrop
from cnnrun.data.prefetch import prefetch

# Bytes of images gathered at once, so that they fit in a core's cache.
_GATHERED = 2**18

LocalSlice = Callable[[int, int], tuple[int, int]]


class Batches:
    """A split, cut into batches on a device in a given order."""

    def __init__(
        self,
        split: Split,
        batch_size: int,
        device: torch.device,
        crop: RandomCrop | None = None,
        local_slice: LocalSlice | None = None,
        smallest: int = 2,
    ) -> None:
        """crop: taken of each image while it is decoded, see `decodes_crops`.

        local_slice: maps (first, last) of a batch to the part for this process; None: all of it.
        smallest: a last batch of fewer samples joins the one before it.
        """
        self.device = device
        self.local_slice = local_slice or (lambda first, last: (first, last))
        self.crop = crop
        self.images = split.images
        if isinstance(self.images, Tensor):
            self.images = self.images.to(device)
        self.targets = split.targets.held.to(device)
        self.borders = batch_borders(len(split), batch_size, smallest)

    def __len__(self) -> int:
        """Batches in one pass."""
        return len(self.borders) - 1

    def size_of(self, number: int) -> int:
        """How many samples batch `number` has, those of other processes included."""
        return self.borders[number + 1] - self.borders[number]

    def samples_of(self, order: Tensor, number: int) -> Tensor:
        """This process's samples of batch `number`: (B,) int64 on the CPU."""
        first, last = self.local_slice(self.borders[number], self.borders[number + 1])
        return order[first:last]

    @property
    def samples(self) -> int:
        return len(self.targets)

    def iterate(
        self, order: Tensor | None = None, start: int = 0, epoch: int = 0
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield (images (B, C, H, W) uint8, targets (B, ...)) from batch number `start` on.

        order: (N,) int64 on the CPU, a permutation of the samples; by default their stored order.
            epoch: decides the random crops.
        """
        if order is None:
            order = torch.arange(self.samples)
        whole = zip(self.borders[start:], self.borders[start + 1 :], strict=False)
        borders = [self.local_slice(first, last) for first, last in whole]
        on_device = order.to(self.device, non_blocking=True)
        if isinstance(self.images, Tensor):
            yield from self._gather(self.images, on_device, borders)
        else:
            targets = (self.targets.index_select(0, on_device[a:b]) for a, b in borders)
            # Closed explicitly, so that an interrupted epoch ends its threads at once.
            with closing(self._read_ahead([order[a:b] for a, b in borders], epoch)) as images:
                yield from zip(images, targets, strict=True)

    def _gather(
        self, images: Tensor, order: Tensor, borders: list[tuple[int, int]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Gathers many small batches at once: launching one takes as long as computing it."""
        in_batch = images[:1].nbytes * max((b - a for a, b in borders), default=0)
        at_once = max(1, _GATHERED // max(1, in_batch))
        for first in range(0, len(borders), at_once):
            block = borders[first : first + at_once]
            indices = torch.cat([order[a:b] for a, b in block])
            sizes = [b - a for a, b in block]
            yield from zip(
                torch.split(images.index_select(0, indices), sizes),
                torch.split(self.targets.index_select(0, indices), sizes),
                strict=True,
            )

    def _read_ahead(self, batches: list[Tensor], epoch: int) -> Generator[Tensor, None, None]:
        """The images of each of `batches` on the device: from worker processes if there are any."""
        images, crop, done = self.images, self.crop, 0

        def read(indices: Tensor) -> Tensor:
            found = _read(images, crop, indices, epoch)
            # A GPU copies from pinned memory asynchronously; otherwise the loop would wait for it.
            return found.pin_memory() if self.device.type == "cuda" else found

        if workers := workers_of(self, self._workers):
            with closing(workers.read(batches, epoch)) as pieces_of_batches:
                for pieces in pieces_of_batches:
                    if pieces is None:
                        yield read(batches[done]).to(self.device, non_blocking=True)
                    else:
                        yield self._concatenated(pieces)
                    done += 1
        with closing(prefetch(read, batches[done:])) as read_ahead:
            for decoded in read_ahead:
                yield decoded.to(self.device, non_blocking=True)

    def _workers(self) -> DecodingWorkers | None:
        """Worker processes that decode these batches, if that is better."""
        files = image_files(self.images)
        if files is None or not files.files.local:
            return None
        largest = max(b - a for a, b in pairwise(self.borders))
        image_bytes = math.prod(files.shape[1:])
        found = plan(self.device, self.samples, largest, image_bytes, files.threads)
        if found is None:
            return None
        read = partial(_read, _without_threads(self.images), self.crop)
        return DecodingWorkers(read, found, pin=self.device.type == "cuda")

    def _concatenated(self, pieces: list[Tensor]) -> Tensor:
        """The pieces of a batch on the device, with no copy on the way there."""
        files = image_files(self.images)
        assert files
        batch = empty_images(sum(map(len, pieces)), files.form, self.device)
        for rows, piece in zip(torch.split(batch, PIECE), pieces, strict=True):
            rows.copy_(piece, non_blocking=True)
        return batch


def decodes_crops(images: Images) -> bool:
    """Whether these images are decoded every time, so that only a random crop needs decoding."""
    return image_files(images) is not None


def image_files(images: Images) -> ImageFiles | None:
    """The files behind `images`, possibly a subset; None if there are none."""
    while isinstance(images, ImageSubset):
        images = images.images
    return images if isinstance(images, ImageFiles) else None


def _without_threads(images: Images) -> Images:
    """The same images, decoded in the thread that reads them."""
    if isinstance(images, ImageSubset):
        return ImageSubset(_without_threads(images.images), images.indices)
    assert isinstance(images, ImageFiles)
    return ImageFiles(images.files, images.form, threads=1)


def _read(images: Images, crop: RandomCrop | None, indices: Tensor, epoch: int) -> Tensor:
    return images[indices] if crop is None else cropped(images, indices, crop, epoch)


def cropped(images: Images, indices: Tensor, crop: RandomCrop, epoch: int) -> Tensor:
    """Random crops of the images at `indices`, of images for which `decodes_crops`."""
    if isinstance(images, ImageSubset):
        return cropped(images.images, images.indices[indices], crop, epoch)
    assert isinstance(images, ImageFiles)
    return images.batch(indices, crop, epoch)


def batch_borders(count: int, batch_size: int, smallest: int = 2) -> list[int]:
    """The borders of batches: 0, B, 2B, ..., count.

    A last batch of fewer than `smallest` samples joins the batch before it, as batch normalization
    can't train on a single value per channel.
    """
    borders = [*range(0, count, batch_size), count]
    if batch_size >= smallest and len(borders) > 2 and borders[-1] - borders[-2] < smallest:
        del borders[-2]
    return borders
