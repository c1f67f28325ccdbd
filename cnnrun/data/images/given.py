"""Images from a program: bytes of files, Pillow's images, arrays."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from cnnrun.data.images.decoding import read_bytes
from cnnrun.data.images.formats import Opened, open_image
from cnnrun.data.images.modes import UnreadableError, is_gray, with_black_as_zero
from cnnrun.data.images.pillow_image import PillowImage
from cnnrun.data.images.reading import ImageReading
from cnnrun.errors import UserError

GivenImage = str | PathLike[str] | bytes | Image.Image | NDArray[Any]
"""A path, the content of an image file, an image of Pillow, or an array (H, W) or (H, W, C)."""


class DecodedImage(PillowImage):
    """An image already decoded by Pillow."""

    def __init__(self, image: Image.Image, reading: ImageReading) -> None:
        """Raises `UnreadableError` where it is empty."""
        if 0 in image.size:
            raise UnreadableError("has no pixels")
        self._reading = reading
        self.gray, self.mode = is_gray(image), image.mode
        self._image = ImageOps.exif_transpose(with_black_as_zero(image))
        self.size = (self._image.height, self._image.width)


def opened(image: GivenImage, reading: ImageReading) -> Opened:
    """An image, in whatever form it is given.

    Pillow's images that were opened but not loaded are read like their files, as a JPEG can be
    decoded at a reduced scale.

    Raises:
        UnreadableError: it can't be decoded.
        UserError: it is none of these, or an array of another shape or type.
    """
    if isinstance(image, (str, PathLike)):
        return open_image(read_bytes(fspath(image)), reading)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return open_image(bytes(image), reading)
    if isinstance(image, Image.Image):
        content = _content_of(image)
        reading = replace(reading, page=None)  # the one that was given is meant
        return DecodedImage(image, reading) if content is None else open_image(content, reading)
    return DecodedImage(_of_array(image), reading)


def is_one(images: object) -> bool:
    """Whether this is a single image in memory, not several, and not paths."""
    if isinstance(images, (bytes, bytearray, memoryview, Image.Image)):
        return True
    return isinstance(images, np.ndarray) and images.ndim in (2, 3)


def _content_of(image: Image.Image) -> bytes | None:
    """The bytes of the file that `image` was opened from, if it has not been changed since."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None:
        return None
    if getattr(image, "n_frames", 1) > 1:
        return None  # another frame may have been selected
    try:
        place = image.fp.tell()
        image.fp.seek(0)
        content = image.fp.read()
        image.fp.seek(place)
    except (OSError, ValueError):
        return None
    return content


def _of_array(array: Any) -> Image.Image:
    if not isinstance(array, np.ndarray):
        raise UserError(
            "expected an image as a path, bytes, an image of Pillow or an array (H, W, C), got "
            f"a {type(array).__name__}"
        )
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        shape = " x ".join(map(str, array.shape))
        raise UserError(f"expected an array H x W x C with 1, 3 or 4 channels, got {shape}")
    if array.dtype != np.uint8:
        raise UserError(f"expected an array of uint8, 0 to 255, got {array.dtype}")
    flat = array[:, :, 0] if array.ndim == 3 and channels == 1 else array
    return Image.fromarray(np.ascontiguousarray(flat))
