"""What a data source delivers: splits of pictures with labels, and the names of the classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from cnnrun.data.images.decoding import BadFile


class Images(Protocol):
    """N pictures of one size: a uint8 tensor, or something that reads like one.

    A tensor is the simplest; pictures that do not fit in memory are decoded when indexed.
    """

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W); C is 1 (gray) or 3 (RGB)."""
        ...

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The pictures at `indices` (M,) int64: (M, C, H, W) uint8, 0..255."""
        ...


@dataclass(frozen=True)
class Split:
    """Pictures and their labels.

    images: (N, C, H, W) uint8, 0..255; C is 1 (gray) or 3 (RGB).
    labels: (N,) int64, 0..K-1.
    groups: (N,) int64, the shard of each sample, where no more than `groups_at_once` shards can be
        at hand; shuffling then stays within so many.
    """

    images: Images
    labels: Tensor
    groups: Tensor | None = None
    groups_at_once: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """The samples at `indices` (M,) int64."""
        return replace(
            self,
            images=chosen(self.images, indices),
            labels=self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
        )


@dataclass(frozen=True)
class Chosen:
    """Some pictures of a collection that is decoded when indexed, so that choosing reads none."""

    images: Images
    indices: Tensor

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.indices), *self.images.shape[1:]))

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        return self.images[self.indices[indices]]


def chosen(images: Images, indices: Tensor) -> Images:
    """The pictures at `indices`; those of a tensor are copied, others stay undecoded."""
    return images[indices] if isinstance(images, Tensor) else Chosen(images, indices)


@dataclass(frozen=True)
class Dataset:
    """The splits of one data set; `classes[k]` is the name of label `k`."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    validation: Split | None = None
    # Files that could not be decoded and were left out, and what else a person should know.
    bad_files: tuple[BadFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def class_counts(self) -> Tensor:
        """How many training samples each class has: (K,) int64."""
        return torch.bincount(self.train.labels, minlength=len(self.classes))

    def split(self, name: str) -> Split:
        """The split called train, validation or test; an absent validation split has length 0."""
        if name == "validation" and self.validation is None:
            return self.test.take(torch.arange(0))
        found: Split = getattr(self, name)
        return found

    def with_labels_of(self, classes: tuple[str, ...]) -> Dataset:
        """The same pictures with the labels that `classes` (those of a checkpoint) give the names.

        Every class here must be in `classes`; the order may differ, and some may be absent here.
        """
        new_label = torch.tensor([classes.index(name) for name in self.classes])

        def relabel(split: Split) -> Split:
            return replace(split, labels=new_label[split.labels])

        return replace(self.each_split(relabel), classes=classes)

    def each_split(self, change: Callable[[Split], Split]) -> Dataset:
        """The data set with `change` made to every split that there is."""
        return replace(
            self,
            train=change(self.train),
            test=change(self.test),
            validation=change(self.validation) if self.validation else None,
        )
