"""What a data source returns: splits of images with targets, and names of the outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import Labels, as_targets
from cnnrun.errors import UserError

# The splits of a data set, in order.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class BadFile:
    """A file or row that can't be read: its path and the reason."""

    path: str
    reason: str


class Images(Protocol):
    """N images of one size: a uint8 tensor, or something that is indexed like one.

    A tensor is the simplest; images that do not fit in memory are decoded when indexed.
    """

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W); C is 1 (gray) or 3 (RGB)."""
        ...

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The images at `indices` (M,) int64: (M, C, H, W) uint8, 0..255."""
        ...


class Names(Protocol):
    """Names of samples, if they have any: for example the paths of their files."""

    def name(self, index: int) -> str: ...


@dataclass(frozen=True)
class Split:
    """Images and their targets.

    images: (N, C, H, W) uint8, 0..255; C is 1 (gray) or 3 (RGB).
    targets: see `cnnrun.data.targets`; of a tensor, (N,) int64 are labels
        0..K-1, (N, D) float32 values and (N, H, W) uint8 masks.
    groups: (N,) int64, the shard of each sample, where no more than `groups_at_once` shards can be
        at hand; shuffling then stays within so many.
    ids: (N,) int64, which samples they are, see `cnnrun.data.identity`; by default their positions.
    keys: (N,) int64, what decides whether a sample is set aside, equal ones together, where files
        may come and go; None in a fixed set, where positions decide.
    contents: (N,) int64, equal if samples hold the same bytes, if that is known; 0 if unknown, as
        they vary with each read.
    names: what each sample is called; None where it has no name but its position.
    """

    images: Images
    targets: Targets
    groups: Tensor | None = None
    groups_at_once: int = 1
    ids: Tensor = field(default=None)  # type: ignore[assignment]
    keys: Tensor | None = None
    contents: Tensor | None = None
    names: Names | None = None

    if TYPE_CHECKING:  # a tensor's type and shape decide the kind of targets

        def __init__(
            self,
            images: Images,
            targets: Targets | Tensor,
            groups: Tensor | None = None,
            groups_at_once: int = 1,
            ids: Tensor = ...,
            keys: Tensor | None = None,
            contents: Tensor | None = None,
            names: Names | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", as_targets(self.targets))
        if self.ids is None:
            object.__setattr__(self, "ids", torch.arange(len(self.targets)))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> Tensor:
        """The class of each sample: (N,) int64, 0..K-1.

        Raises:
            UserError: the targets are of another kind.
        """
        if not isinstance(self.targets, Labels):
            raise UserError(f"this needs one class per image, and these data have {self._kind}")
        return self.targets.held

    @property
    def _kind(self) -> str:
        return self.targets.kind.replace("_", " ")

    def name(self, index: int) -> str | None:
        """What sample `index` is called, if it has a name."""
        return self.names.name(index) if self.names else None

    def caption(self, index: int) -> str:
        """Sample `index` in a few letters: the file's own name, or the position."""
        name = self.name(index)
        return PurePath(name).name if name else f"image {index}"

    def take(self, indices: Tensor) -> Split:
        """The samples at `indices` (M,) int64."""

        def of(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[indices]

        return replace(
            self,
            images=chosen(self.images, indices),
            targets=self.targets.take(indices),
            groups=of(self.groups),
            ids=self.ids[indices],
            keys=of(self.keys),
            contents=of(self.contents),
            names=SomeNames(self.names, indices) if self.names else None,
        )


@dataclass(frozen=True)
class SomeNames:
    """The names of some samples of a collection."""

    names: Names
    indices: Tensor

    def name(self, index: int) -> str:
        return self.names.name(int(self.indices[index]))


@dataclass(frozen=True)
class ImageSubset:
    """A subset of a collection that is decoded when indexed, so that choosing reads nothing."""

    images: Images
    indices: Tensor

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.indices), *self.images.shape[1:]))

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        return self.images[self.indices[indices]]


def origin(images: Images, numbers: Tensor) -> tuple[Images, Tensor]:
    """The collection that `images` were chosen from, and the numbers (M,) int64 there."""
    if isinstance(images, ImageSubset):
        return origin(images.images, images.indices[numbers])
    return images, numbers


def chosen(images: Images, indices: Tensor) -> Images:
    """The images at `indices`; those of a tensor are copied, others stay undecoded."""
    return images[indices] if isinstance(images, Tensor) else ImageSubset(images, indices)


@dataclass(frozen=True)
class Dataset:
    """The splits of one data set.

    classes: the names of what there is to answer: of class k, of label k of a set, of value k.
    """

    classes: tuple[str, ...]
    train: Split
    test: Split
    validation: Split | None = None
    # Files that could not be decoded and were left out, and what else a person should know.
    bad_files: tuple[BadFile, ...] = ()
    notes: tuple[str, ...] = ()
    # Says what all the data are: equal for equal names, labels and contents of all samples.
    fingerprint: str = ""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def class_counts(self) -> Tensor:
        """How many training samples (of masks: pixels) each class has: (K,) int64."""
        return self.train.targets.counts(len(self.classes))

    def split(self, name: str) -> Split:
        """The split called train, validation or test; an absent validation split has length 0."""
        if name == "validation" and self.validation is None:
            return self.test.take(torch.arange(0))
        found: Split = getattr(self, name)
        return found

    def with_labels_of(self, classes: tuple[str, ...]) -> Dataset:
        """The same images with targets in the order of a checkpoint's `classes`.

        Every class here must be in `classes`; the order may differ, and some may be absent here.
        Values need all of them, and sets of labels that are not listed by name.
        """

        def relabel(split: Split) -> Split:
            return replace(split, targets=split.targets.renamed(self.classes, classes))

        return replace(self.each_split(relabel), classes=classes)

    def each_split(self, change: Callable[[Split], Split]) -> Dataset:
        """The data set with `change` made to every split that there is."""
        return replace(
            self,
            train=change(self.train),
            test=change(self.test),
            validation=change(self.validation) if self.validation else None,
        )
