"""Images from a program: bytes of files, open files, Pillow's images, arrays."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike, fspath
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from cnnrun.data.images.arrays import quantized
from cnnrun.data.images.decoding import read_bytes
from cnnrun.data.images.formats import Opened, open_image
from cnnrun.data.images.modes import UnreadableError, is_gray, with_black_as_zero
from cnnrun.data.images.pillow_image import PillowImage, reason
from cnnrun.data.images.reading import AS_STORED, ImageReading
from cnnrun.data.images.window import Pixels, Window
from cnnrun.errors import UserError

GivenImage = str | PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]
"""A path, an image file's content, or it opened for reading, an image of Pillow, or an array (H, W)
or (H, W, C)."""

_OF_FILES = (1, 3)  # channels


class DecodedImage(PillowImage):
    """An image already decoded by Pillow."""

    def __init__(self, image: Image.Image, reading: ImageReading) -> None:
        """Raises `UnreadableError` where it is empty."""
        if 0 in image.size:
            raise UnreadableError("has no pixels")
        self._reading = reading
        self.gray, self.mode = is_gray(image), image.mode
        try:
            self._image = ImageOps.exif_transpose(with_black_as_zero(image))
        # Pillow's readers meet damage, and closed images, with exceptions of any kind.
        except Exception as error:
            raise UnreadableError(reason(error)) from error
        self.size = (self._image.height, self._image.width)


class ArrayImage:
    """An array of another number of channels than files have."""

    gray, mode = False, "array"

    def __init__(self, pixels: Pixels) -> None:
        """pixels: (H, W, C) uint8."""
        self._pixels = pixels
        self.size = (pixels.shape[0], pixels.shape[1])

    def read(
        self,
        channels: int,  # noqa: ARG002
        window: Window,
        size: tuple[int, int],  # noqa: ARG002
    ) -> Pixels:
        """See `Opened.read`; the channels are those that it has."""
        top, left, height, width = window
        return np.ascontiguousarray(self._pixels[top : top + height, left : left + width])

    def check(self) -> None:
        """It is decoded."""

    def highest(self) -> None:
        """It has 8 bits by now."""


def opened(image: GivenImage, reading: ImageReading, channels: int) -> Opened:
    """An image, in whatever form it is given.

    Pillow's images that were opened but not loaded are read like their files, as a JPEG can be
    decoded at a reduced scale.

    channels: of the network; other than 1 and 3 are those of arrays alone.

    Raises:
        UnreadableError: it can't be decoded, or has not these channels.
        UserError: it is none of these, or an array of another shape or type.
    """
    if isinstance(image, np.ndarray):
        return _of_array(image, reading, channels)
    _refuse_other(image)
    if channels not in _OF_FILES:
        raise UnreadableError(
            f"the network takes images of {channels} channels, which image files do not have; from "
            f"Python, give it an array H x W x {channels}"
        )
    if isinstance(image, (str, PathLike)):
        return open_image(read_bytes(fspath(image)), reading)
    if isinstance(image, Image.Image):
        content = _content_of(image)
        reading = replace(reading, page=None)  # the one that was given is meant
        return DecodedImage(image, reading) if content is None else open_image(content, reading)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return open_image(bytes(image), reading)
    return open_image(_content_of_file(image), reading)


def is_one(images: object) -> bool:
    """Whether this is a single image in memory, not several, and not paths."""
    if isinstance(images, np.ndarray):
        return images.ndim in (2, 3)
    return not isinstance(images, (str, PathLike)) and (
        isinstance(images, (bytes, bytearray, memoryview, Image.Image, torch.Tensor))
        or hasattr(images, "read")
        or not hasattr(images, "__iter__")
    )


def _refuse_other(image: object) -> None:
    """Raises UserError for what is no image."""
    kinds = (str, PathLike, bytes, bytearray, memoryview, Image.Image)
    if isinstance(image, kinds) or hasattr(image, "read"):
        return
    what = "None" if image is None else f"a {type(image).__name__}"
    more = ""
    if isinstance(image, torch.Tensor):
        more = "; tensors N x C x H x W are for `model(images)` and `model.probabilities(images)`"
    raise UserError(
        "expected an image as a path, bytes, an open file, an image of Pillow or an array "
        f"(H, W, C), got {what}{more}"
    )


def _content_of_file(file: Any) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    if not isinstance(content, bytes):
        raise UserError("expected an image file opened for reading bytes: open(..., 'rb')")
    return content


def _content_of(image: Image.Image) -> bytes | None:
    """The bytes of the file that `image` was opened from, if it has not been changed since."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return None
    if image.fp is None:
        raise UnreadableError("its file was closed before it was read")
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


def _of_array(array: NDArray[Any], reading: ImageReading, channels: int) -> Opened:
    """An array (H, W) or (H, W, C), its values as arrays of the data set are read."""
    given = array.shape[2] if array.ndim == 3 else 1
    meant = (1, 3, 4) if channels in _OF_FILES else (channels,)
    if array.ndim not in (2, 3) or given not in meant:
        shape = " x ".join(map(str, array.shape))
        numbers = "1, 3 or 4" if len(meant) > 1 else str(channels)
        message = f"expected an array H x W x C with {numbers} channels, got {shape}"
        first = array.ndim == 3 and array.shape[0] in meant
        raise UserError(message + ("; np.moveaxis(array, 0, -1) moves them last" if first else ""))
    if 0 in array.shape:
        raise UnreadableError("has no pixels")
    if array.dtype.kind not in "uifb":
        raise UserError(f"expected an array of numbers, got one of {array.dtype}")
    pixels = quantized(torch.from_numpy(np.array(array)), reading).numpy()
    if channels not in _OF_FILES:
        return ArrayImage(pixels)
    flat = pixels[:, :, 0] if array.ndim == 3 and given == 1 else pixels
    return DecodedImage(Image.fromarray(np.ascontiguousarray(flat)), AS_STORED)
