"""What all decoders share: the part that is read of an image, and what is refused before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnrun.data.images.modes import UnreadableError

Pixels = NDArray[np.uint8]


class Window(NamedTuple):
    """A rectangle of an upright image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def refuse_large(height: int, width: int) -> None:
    """Pillow's size limit, for images that it does not decode."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        refusal = "more than Pillow's limit against decompression bombs"
        raise UnreadableError(f"{width:,} x {height:,} pixels, {refusal}")


def no_such_page(page: int, count: int) -> str:
    """In words, that a file of `count` pages has no page `page`, counted from 0."""
    there = "one page, page 0" if count == 1 else f"{count:,} pages, 0 to {count - 1}"
    return f"it has {there}, but dataset.page is {page}"
