"""Images of any format but JPEG, decoded by Pillow, and what Pillow says of a file."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from cnnrun.data.images.modes import (
    UnreadableError,
    as_8_bit,
    highest_value,
    is_gray,
    with_black_as_zero,
)
from cnnrun.data.images.reading import AS_STORED, ImageReading
from cnnrun.data.images.window import Pixels, Window, no_such_page

# Formats that Pillow may detect. Not among them: those that start other programs (EPS), and those
# that are not images (e.g. PDF, HDF5).
_FORMATS = (
    "AVIF BMP CUR DDS DIB GIF ICNS ICO IM JPEG JPEG2000 MPO MSP PCX PNG PPM QOI SGI SUN TGA TIFF "
    "WEBP XBM XPM"
)
_EXIF_ORIENTATION = 0x0112
_SAMPLES_PER_PIXEL = 277
# 4 are RGB with transparency, or CMYK.
_READ_CHANNELS = (1, 3, 4)
_NOT_IMAGES = {
    b"version https://git-lfs": "a Git LFS pointer, not the image; run `git lfs pull`",
    b"<!doctype html": "a web page, not an image",
    b"<html": "a web page, not an image",
    b"<svg": "an SVG drawing; save it as PNG",
    b"%pdf": "a PDF document; save its pages as PNG",
}


class PillowImage:
    """Any other format; decoded at once, as Pillow rotates some only then."""

    def __init__(self, content: bytes, reading: ImageReading = AS_STORED) -> None:
        self._reading = reading
        image = at_page(open_with_pillow(content), reading.page)
        self.gray, self.mode = is_gray(image), image.mode
        try:
            image.load()
            self._image = ImageOps.exif_transpose(with_black_as_zero(image))
        # Pillow's readers raise exceptions of any kind on damaged files.
        except (Exception, Image.DecompressionBombWarning) as error:
            raise UnreadableError(reason(error)) from error
        self.size = (self._image.height, self._image.width)

    def read(
        self,
        channels: int,
        window: Window,
        size: tuple[int, int],  # noqa: ARG002
    ) -> Pixels:
        top, left, height, width = window
        part = self._image
        if (height, width) != self.size:
            part = part.crop((left, top, left + width, top + height))
        pixels = np.array(as_8_bit(part, channels, self._reading))
        return pixels[:, :, None] if channels == 1 else pixels

    def highest(self) -> int | None:
        return highest_value(self._image)

    def check(self) -> None:
        as_8_bit(self._image, 3 if self._image.mode != "F" else 1, self._reading)


def at_page(image: Image.Image, page: int | None) -> Image.Image:
    """`image` at that page or frame.

    Raises:
        UnreadableError: it has fewer, or more channels there than Pillow would read.
    """
    count = 1
    try:
        if page and page < (count := int(getattr(image, "n_frames", 1))):
            image.seek(page)
    # Pillow's readers meet damage with exceptions of any kind.
    except (Exception, Image.DecompressionBombWarning) as error:
        raise UnreadableError(reason(error)) from error
    if page and page >= count:
        raise UnreadableError(no_such_page(page, count))
    channels = getattr(image, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)
    if channels > len(image.getbands()):
        raise UnreadableError(_too_many(channels))
    return image


def page_count(image: Image.Image) -> int:
    """How many pages or frames the file holds; 1 where damage hides the others."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # Pillow's readers meet damage with exceptions of any kind
        return 1


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8."""
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF is ignored, and no reason to lose the image
        return 1
    return found if isinstance(found, int) else 1


def open_with_pillow(content: bytes) -> Image.Image:
    """Pillow's image, not yet decoded; raises `UnreadableError`. Starts no other programs."""
    if not content:
        raise UnreadableError("the file is empty")
    try:
        return Image.open(BytesIO(content), formats=_formats())
    except (Exception, Image.DecompressionBombWarning) as error:
        raise UnreadableError(_foreign(content) or reason(error)) from error


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS.split() if name in Image.OPEN]


def _foreign(content: bytes) -> str | None:
    if (channels := _tiff_channels(content)) not in _READ_CHANNELS:
        return _too_many(channels)
    start = content[:64].lstrip().lower()
    if content[4:8] == b"ftyp" and content[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "a HEIC image, which Pillow does not read; save it as JPEG or PNG"
    return next((says for prefix, says in _NOT_IMAGES.items() if start.startswith(prefix)), None)


def _tiff_channels(content: bytes) -> int:
    """The number of channels of the first page; 1 for what is not a TIFF."""
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        tags: Any = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
        stream = BytesIO(content)
        stream.seek(tags.next)
        tags.load(stream)
        return int(tags.get(_SAMPLES_PER_PIXEL, 1))
    except Exception:  # damage, which is explained elsewhere
        return 1


def _too_many(channels: int) -> str:
    return (
        f"a TIFF of {channels} channels, of which not all would be used: save it as gray or RGB, "
        "or put the images into an .npz file, whose arrays may have up to 16 channels (dataset npz)"
    )


def reason(error: BaseException) -> str:
    """A decoder's error message in plain words."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a kind that Pillow does not read"
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow's limit against decompression bombs"
    return f"damaged: {str(error) or type(error).__name__}"
