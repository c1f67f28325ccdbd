"""One mask's file as the class of each pixel: from its values, or from its colors."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from pydantic import Field

from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.pillow_image import at_page, open_with_pillow, page_count, reason
from cnnrun.data.targets import IGNORED

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


def read_mask(content: bytes, classes: MaskClasses, page: int | None = None) -> Pixels:
    """The class of each pixel, (H, W) uint8, from the content of a file.

    page: of a file with several; a mask of one page belongs to any page of its image.

    Raises:
        UnreadableError: not an image, damaged, without a class per pixel or that page, or with
            values that `classes` lacks.
    """
    image = open_with_pillow(content)
    if page and page_count(image) > 1:
        image = at_page(image, page)
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
