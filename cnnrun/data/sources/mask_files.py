"""Masks in files, resized like their images; the same rules for bad ones as for bad images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cnnrun.data.dataset import BadFile, Split
from cnnrun.data.images.assemble import refuse_bad, without_bad
from cnnrun.data.images.conversion import convert_masks
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.files import Encoded, Files, for_each
from cnnrun.data.images.formats import exif_orientation, has_several, read_header
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.sources.listed_names import listed
from cnnrun.data.sources.listed_targets import Reading, Said
from cnnrun.data.sources.mask_pixels import MaskClasses, Pixels, read_mask
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import IGNORED, Masks, Values
from cnnrun.errors import UserError
from cnnrun.runtime.container import cores
from cnnrun.runtime.printable import printable

# Values without pixels are reported if there are no more than this many.
_FEW = 8

# EXIF orientations from this one on exchange height and width.
_TRANSPOSED = 5


class MaskFiles(Reading):
    """An answer is the path of a mask, as large as its image."""

    def __init__(self, classes: MaskClasses) -> None:
        self._classes = classes
        self._masks: list[str] = []
        self._images: list[str] = []

    def names(self, answers: Sequence[Any]) -> list[str]:  # noqa: ARG002
        return known_names(self._classes)

    def targets(self, said: Said, names: list[str]) -> Targets:  # noqa: ARG002
        """Indices for now: a mask's size is known when its image's is."""
        first = len(self._masks)
        self._masks += said.answers
        self._images += said.paths
        return numbered(range(first, len(self._masks)))

    def finished(
        self, splits: dict[str, Split], names: list[str], options: ImageOptions
    ) -> tuple[dict[str, Split], list[str]]:
        """Every mask is read and resized to its image's size; raises as `with_masks`."""
        pairs = dict.fromkeys(splits, (Files(self._masks), Files(self._images)))
        with_them = with_masks(splits, pairs, self._classes, options)
        return with_them, names or numbered_names(with_them, options)


def numbered(numbers: range) -> Values:
    """Placeholders for masks number `numbers` until their images' format is known."""
    return Values(torch.arange(numbers.start, numbers.stop, dtype=torch.float32)[:, None])


def known_names(classes: MaskClasses) -> list[str]:
    """The names of the classes, in order; none if their number follows from the masks.

    Raises:
        UserError: two classes of one name.
    """
    names = list(classes.values()) if isinstance(classes, dict) else list(classes or [])
    twice = [name for k, name in enumerate(names) if name in names[:k]]
    if twice:
        raise UserError(f"mask_classes: two classes are called '{twice[0]}'")
    return names


def with_masks(
    splits: Mapping[str, Split],
    pairs: Mapping[str, tuple[Encoded, Encoded]],
    classes: MaskClasses,
    options: ImageOptions,
) -> dict[str, Split]:
    """The splits, whose targets are `numbered`, with their masks, resized to their images.

    A bad mask is an error, or is left out with its image, as `options.on_error` says; so is one of
    another size than its image, or with unknown values.

    pairs: for each split the files of the masks, and of the images for their original sizes.

    Raises:
        BadImageError: there are bad masks, and `on_error` is "stop".
        UserError: a split has no good mask.
    """
    found = {name: _Found(split, *pairs[name], options) for name, split in splits.items()}
    for each in found.values():
        each.read(classes)
        options.bad_files.extend(each.bad_files())
    refuse_bad(options)
    options.notes.extend(_notes([*found.values()], options))
    return {
        name: without_bad(name, replace(splits[name], targets=Masks(each.pixels)), each.bad)
        for name, each in found.items()
    }


@dataclass
class _Found:
    """The masks of a split, and what was found in reading them.

    pixels: (N, H, W) uint8, not set where they are bad. bad: the reasons, by index in the split.
    several: masks of more than one page. turned: images that an EXIF orientation turns, while
    it does not turn their masks, where sizes do not say which is right.
    """

    split: Split
    masks: Encoded
    images: Encoded
    options: ImageOptions
    bad: dict[int, str] = field(default_factory=dict)
    several: list[int] = field(default_factory=list)
    turned: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert isinstance(self.split.targets, Values)
        self.numbers = self.split.targets.held[:, 0].long().tolist()
        options, (height, width) = self.options, self.split.images.shape[2:]
        self.form = ImageFormat(
            (height, width), 1, options.resize, crop_fraction=options.crop_fraction
        )
        self.pixels = torch.empty((len(self.numbers), height, width), dtype=torch.uint8)

    def read(self, classes: MaskClasses) -> None:
        """Read all masks; only in memory is there room for them at once."""

        def one(row: int) -> None:
            try:
                content = self.masks.read(self.numbers[row])
                mask = read_mask(content, classes, self.options.reading.page)
                self._compare(row, content, mask)
            except UnreadableError as error:
                self.bad[row] = str(error)
                return
            self.pixels[row] = convert_masks(torch.from_numpy(mask)[None], self.form)[0]

        for_each(one, range(len(self.numbers)), self.options.threads or cores())
        self.bad = dict(sorted(self.bad.items()))

    def _compare(self, row: int, content: bytes, mask: Pixels) -> None:
        """Compare with the image: raises UnreadableError for another size."""
        number = self.numbers[row]
        image = self.images.read(number)
        size, _ = read_header(image, self.options.reading.page)
        if tuple(size) != mask.shape:
            sizes = " and ".join(f"{h} x {w}" for h, w in (mask.shape, size))
            turned = tuple(reversed(size)) == mask.shape
            raise UnreadableError(
                f"mask and image {self.images.name(number)} are of different sizes ({sizes})"
                + ("; is one of them rotated, as by an EXIF orientation?" if turned else "")
            )
        if has_several(content):
            self.several.append(row)
        own, other = (exif_orientation(each) for each in (image, content))
        keeps_size = max(own, other) < _TRANSPOSED or mask.shape[0] == mask.shape[1]
        if own != other and keeps_size:
            self.turned.append(row)

    def bad_files(self) -> list[BadFile]:
        return [BadFile(self._name(row), reason) for row, reason in self.bad.items()]

    def names(self, rows: list[int]) -> list[str]:
        """Names of the masks in these rows, in order."""
        return [self._name(row) for row in sorted(rows)]

    def _name(self, row: int) -> str:
        return self.masks.name(self.numbers[row])


def _notes(found: list[_Found], options: ImageOptions) -> list[str]:
    notes = []
    several = [name for each in found for name in each.names(each.several)]
    if several and options.reading.page is None:
        notes.append(
            f"{len(several):,} masks hold several pages, such as {printable(several[0])}; the "
            "first of each is used (dataset.page)"
        )
    if turned := [name for each in found for name in each.names(each.turned)]:
        notes.append(
            f"of {len(turned):,} pairs, the EXIF orientation rotates or mirrors the image and not "
            f"the mask, or the other way, such as {printable(turned[0])}; sizes don't say whether "
            "that is right: it is if the mask was drawn on the image as viewers show it, else "
            "remove the orientation from the file"
        )
    return notes


def numbered_names(splits: dict[str, Split], options: ImageOptions) -> list[str]:
    """Names for the values from 0 to the highest in the masks of these splits.

    Raises:
        UserError: all pixels of all masks are of the first class.
    """
    counts = sum(split.targets.counts(256) for split in splits.values())
    assert isinstance(counts, Tensor)
    found = counts[:IGNORED].nonzero().flatten().tolist()
    if not any(found) and counts[IGNORED]:
        raise UserError(
            "the masks have only the values 0 and 255, and 255 marks ignored pixels; if it "
            "is a class, name both: mask_classes={0: background, 255: object}"
        )
    names = [str(k) for k in range(max(found, default=0) + 1)]
    if len(found) <= _FEW and 2 * len(found) < len(names):
        options.notes.append(
            f"the masks have only the values {listed(map(str, found))}, and {len(names)} classes "
            "are made of them; if these values are all there are, name them, such as "
            "mask_classes={0: background, ...}"
        )
    return names
