"""Masks in files: the classes of pixel values or colors, resized like the mask's image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageOps
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Split
from cnnrun.data.images.conversion import convert_masks
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.files import Encoded, Files, for_each
from cnnrun.data.images.formats import read_header
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.pillow_image import open_with_pillow, reason
from cnnrun.data.sources.listed_names import listed
from cnnrun.data.sources.listed_targets import Reading, Said
from cnnrun.data.targets import IGNORED, Masks, Targets, Values
from cnnrun.errors import UserError
from cnnrun.runtime.container import cores

_SIZES = Field(min_length=1, max_length=IGNORED)
# Not strict, as keys of YAML come as text.
_Value = Annotated[int, Field(strict=False, ge=0, le=255)]
_Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]

# The names of classes: of the values 0, 1, ..., of any values, or of colors such as "#ff0000".
MaskClasses = (
    Annotated[list[str], _SIZES]
    | Annotated[dict[_Value, str], _SIZES]
    | Annotated[dict[_Color, str], _SIZES]
    | None
)

Pixels = NDArray[np.uint8]

# Values without pixels are reported if there are no more than this many.
_FEW = 8


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
        files = Files(self._masks), Files(self._images)
        with_them = {
            name: with_masks(split, *files, self._classes, options)
            for name, split in splits.items()
        }
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
    split: Split, masks: Encoded, images: Encoded, classes: MaskClasses, options: ImageOptions
) -> Split:
    """`split`, whose targets are `numbered`, with these masks, resized to its images.

    images: the files of the images, for their original sizes.

    Raises:
        UserError: a mask can't be read, is not as large as its image, or has unknown values.
    """
    assert isinstance(split.targets, Values)
    numbers = split.targets.held[:, 0].long()
    height, width = split.images.shape[2:]
    form = ImageFormat((height, width), 1, options.resize, crop_fraction=options.crop_fraction)
    out = torch.empty((len(numbers), height, width), dtype=torch.uint8)

    def read(row: int) -> None:
        number = int(numbers[row])
        where = masks.name(number)
        try:
            mask = read_mask(masks.read(number), classes)
            _compare_sizes(mask, images, number)
        except UnreadableError as error:
            raise UserError(f"{where}: {error}") from error
        out[row] = convert_masks(torch.from_numpy(mask)[None], form)[0]

    for_each(read, range(len(numbers)), options.threads or cores())
    return replace(split, targets=Masks(out))


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


def read_mask(content: bytes, classes: MaskClasses) -> Pixels:
    """The class of each pixel, (H, W) uint8, from the content of a file.

    Raises:
        UnreadableError: not an image, damaged, without a class per pixel, or with values that
            `classes` lacks.
    """
    image = open_with_pillow(content)
    if image.format in ("JPEG", "MPO") and not isinstance(classes, dict):
        raise UnreadableError(
            "a mask that is saved as JPEG, whose compression changes values; save it as PNG, or "
            "name by mask_classes the values that are classes"
        )
    try:
        image.load()
        image = ImageOps.exif_transpose(image)  # as its image is
        if _are_colors(classes):
            return _by_color(np.asarray(image.convert("RGB")), list(classes))  # type: ignore[arg-type]
        values = np.asarray(image)
    except Exception as error:  # Pillow's readers raise exceptions of any kind on damaged files
        raise UnreadableError(reason(error)) from error
    if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise UnreadableError(
            f"a mask of mode {image.mode}; expected one value per pixel (gray, or a palette), or "
            "name its colors: mask_classes={'#000000': background, '#ff0000': road}"
        )
    return _by_value(values, classes)


def _are_colors(classes: MaskClasses) -> bool:
    return isinstance(classes, dict) and isinstance(next(iter(classes)), str)


def _by_color(pixels: Pixels, colors: list[str]) -> Pixels:
    """(H, W, 3) to the index of each pixel's color in `colors`; others become `IGNORED`."""
    red, green, blue = (pixels[..., k].astype(np.int32) for k in range(3))
    codes = red << 16 | green << 8 | blue
    out = np.full(codes.shape, IGNORED, np.uint8)
    for k, color in enumerate(colors):
        out[codes == int(color[1:], 16)] = k
    return out


def _by_value(values: NDArray[Any], classes: MaskClasses) -> Pixels:
    for extreme in (int(values.max(initial=0)), int(values.min(initial=0))):
        if not 0 <= extreme <= IGNORED:
            raise UnreadableError(
                f"a mask with the value {extreme:,}; classes are numbers from 0 to 254, and 255 is "
                "ignored"
            )
    pixels = values.astype(np.uint8)
    if isinstance(classes, dict):
        table = np.full(256, IGNORED, np.uint8)
        for k, value in enumerate(classes):
            table[int(str(value))] = k
        return table[pixels]
    if classes is not None:
        unknown = pixels[(pixels >= len(classes)) & (pixels != IGNORED)]
        if len(unknown):
            raise UnreadableError(
                f"a mask with the value {unknown[0]}, but mask_classes names {len(classes)}: "
                f"pixels are 0 to {len(classes) - 1}, or 255 for ignored pixels"
            )
    return pixels


def _compare_sizes(mask: Pixels, images: Encoded, number: int) -> None:
    other, _ = read_header(images.read(number))
    if tuple(other) != mask.shape:
        sizes = " and ".join(f"{h} x {w}" for h, w in (mask.shape, other))
        turned = tuple(reversed(other)) == mask.shape
        raise UnreadableError(
            f"mask and image {images.name(number)} are of different sizes ({sizes})"
            + ("; is one of them rotated, as by an EXIF orientation?" if turned else "")
        )
