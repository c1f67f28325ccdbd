"""What a table or folder says of each file, as targets: a class, labels, numbers or a mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnrun.data.dataset import Split
from cnnrun.data.images.conversion import convert_masks
from cnnrun.data.images.decoding import ImageFormat, ImageOptions, read_bytes
from cnnrun.data.images.files import for_each
from cnnrun.data.images.formats import read_header
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.sources.listed_names import listed, natural_order
from cnnrun.data.targets import IGNORED, Labels, LabelSets, Masks, Targets, Values
from cnnrun.errors import UserError
from cnnrun.runtime.container import cores

# A class for each value of a mask's pixels, by position or by value.
MaskClasses = list[str] | dict[int, str] | None


@dataclass(frozen=True)
class Said:
    """What is said of the files of a split: answers[i] of paths[i]. where: for messages."""

    where: str
    paths: Sequence[str]
    answers: Sequence[Any]


class Reading(ABC):
    """How the answers of a listing, one a file, become targets."""

    @abstractmethod
    def names(self, answers: Sequence[Any]) -> list[str]:
        """The names of the outputs. answers: of the training files."""

    @abstractmethod
    def targets(self, said: Said, names: list[str]) -> Targets:
        """The targets of the files of a split. names: of the outputs."""

    def finished(
        self,
        splits: dict[str, Split],
        names: list[str],
        options: ImageOptions,  # noqa: ARG002
    ) -> tuple[dict[str, Split], list[str]]:
        """The splits as they are to be, now that the size of the images is known, and the names."""
        return splits, names


class OneClass(Reading):
    """An answer is the name of a class."""

    def names(self, answers: Sequence[Any]) -> list[str]:
        return sorted(set(answers), key=natural_order)

    def targets(self, said: Said, names: list[str]) -> Targets:
        numbers = {name: k for k, name in enumerate(names)}
        _refuse_unknown(said.where, set(said.answers) - set(numbers), "classes")
        return Labels(torch.tensor([numbers[name] for name in said.answers], dtype=torch.int64))


class SeveralLabels(Reading):
    """An answer is a list of names of labels."""

    def __init__(self, known: list[str] | None = None) -> None:
        """known: all labels; by default those that some training file has."""
        self._known = known

    def names(self, answers: Sequence[Any]) -> list[str]:
        found = {name for names in answers for name in names}
        return self._known or sorted(found, key=natural_order)

    def targets(self, said: Said, names: list[str]) -> Targets:
        numbers = {name: k for k, name in enumerate(names)}
        found = {name for names in said.answers for name in names}
        _refuse_unknown(said.where, found - set(numbers), "labels")
        held = torch.zeros(len(said.answers), len(names))
        for row, those in zip(held, said.answers, strict=True):
            row[[numbers[name] for name in those]] = 1
        return LabelSets(held)


class SomeValues(Reading):
    """An answer is a list of numbers, one for each of the named values."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def names(self, answers: Sequence[Any]) -> list[str]:  # noqa: ARG002
        return self._names

    def targets(self, said: Said, names: list[str]) -> Targets:
        held = torch.tensor(said.answers, dtype=torch.float32)
        return Values(held.view(len(said.answers), len(names)))


class MaskFiles(Reading):
    """An answer is the path of a mask: gray or with a palette, as large as its image."""

    def __init__(self, classes: MaskClasses) -> None:
        """classes: by the values of pixels from 0 on, or by any values; others are ignored."""
        self._classes = classes
        self._masks: list[str] = []
        self._images: list[str] = []

    def names(self, answers: Sequence[Any]) -> list[str]:  # noqa: ARG002
        known = self._classes or []
        return list(known.values()) if isinstance(known, dict) else list(known)

    def targets(self, said: Said, names: list[str]) -> Targets:  # noqa: ARG002
        """Their numbers for now: what a mask is brought to is known when its image is."""
        first = len(self._masks)
        self._masks += said.answers
        self._images += said.paths
        return Values(torch.arange(first, len(self._masks), dtype=torch.float32)[:, None])

    def finished(
        self, splits: dict[str, Split], names: list[str], options: ImageOptions
    ) -> tuple[dict[str, Split], list[str]]:
        """Every mask is read and brought to the size of its image.

        Raises:
            UserError: a mask can't be read, or is not as large as its image; or no pixel of any
                mask is of a class but the first.
        """
        held = {
            name: self._read(split.targets.held[:, 0].long(), split, options)
            for name, split in splits.items()
        }
        counts = sum(torch.bincount(masks.flatten(), minlength=256) for masks in held.values())
        assert isinstance(counts, Tensor)
        if not counts[1:IGNORED].any() and counts[IGNORED]:
            raise UserError(
                f"the masks have the values 0 and {IGNORED} alone, and {IGNORED} means that "
                "nothing is known; if it is a class, name both: "
                "mask_classes={0: background, 255: object}"
            )
        if not names:
            names = [str(k) for k in range(int(counts[:IGNORED].nonzero().max()) + 1)]
        return {
            name: replace(split, targets=Masks(held[name])) for name, split in splits.items()
        }, names

    def _read(self, numbers: Tensor, split: Split, options: ImageOptions) -> Tensor:
        height, width = split.images.shape[2:]
        form = ImageFormat((height, width), 1, options.resize, crop_fraction=options.crop_fraction)
        out = torch.empty((len(numbers), height, width), dtype=torch.uint8)

        def read(row: int) -> None:
            number = int(numbers[row])
            mask = torch.from_numpy(self._table()[_pixels(self._masks[number])])
            _compare_sizes(self._masks[number], tuple(mask.shape), self._images[number])
            out[row] = convert_masks(mask[None], form)[0]

        for_each(read, range(len(numbers)), options.threads or cores())
        return out

    def _table(self) -> Any:
        """(256,) uint8: what each value of a mask's pixels becomes."""
        table = np.arange(256, dtype=np.uint8)
        if isinstance(self._classes, dict):
            table[:] = IGNORED
            for k, value in enumerate(self._classes):
                table[value] = k
        return table


def _pixels(path: str) -> Any:
    """(H, W) uint8, the values of a mask's pixels: palette indices, or grays."""
    try:
        with Image.open(BytesIO(read_bytes(path))) as mask:
            if mask.mode not in ("L", "P", "1"):
                raise UserError(
                    f"{path}: a mask of mode {mask.mode}; one value a pixel is meant (8-bit gray, "
                    "or a palette)"
                )
            pixels = np.asarray(mask)
    except (OSError, UnreadableError, ValueError) as error:
        raise UserError(f"{path}: the mask can't be read ({error})") from error
    return pixels.astype(np.uint8)


def _compare_sizes(mask: str, size: tuple[int, ...], image: str) -> None:
    other, _ = read_header(read_bytes(image))
    if tuple(other) != size:
        told = " and ".join(f"{h} x {w}" for h, w in (size, other))
        raise UserError(f"{mask}: mask and image {image} are of different sizes ({told})")


def _refuse_unknown(where: str, unknown: set[str], words: str) -> None:
    if unknown:
        raise UserError(
            f"{where}: there are {words} that training has no images of: "
            f"{listed(sorted(unknown, key=natural_order))}; add them to training, or remove them "
            "here"
        )
