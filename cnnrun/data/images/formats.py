"""From the bytes of an image file to upright pixels; a damaged file is never decoded in part.

JPEG is decoded by libjpeg-turbo through simplejpeg, all other formats by Pillow. Measured on two
cores, 500x375 JPEGs to random 224x224 crops, images/s: Pillow decoding and resizing 1,130-1,180;
Pillow decoding, torch resizing 1,380; simplejpeg and OpenCV 1,700; simplejpeg and torch
1,870-2,130. Decoding only the rows above the crop's lower edge would leave the rest unchecked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnrun.data.images.modes import (
    UnreadableError,
    as_8_bit,
    highest_value,
    is_gray,
    with_black_as_zero,
)

Pixels = NDArray[np.uint8]

# Formats that Pillow may detect. Not among them: those that start other programs (EPS), and those
# that are not images (e.g. PDF, HDF5).
_FORMATS = (
    "AVIF BMP CUR DDS DIB GIF ICNS ICO IM JPEG JPEG2000 MPO MSP PCX PNG PPM QOI SGI SUN TGA TIFF "
    "WEBP XBM XPM"
)

# A JPEG is decoded at 1/2, 1/4 or 1/8 scale where that leaves at least this many times the target
# size. Measured on photographs against decoding in full: PSNR 38 to 49, median 45 dB (bilinear
# against bicubic resizing: 38 to 39); at 2 it is 35, median 42. From 4000x3000 to 224x224 it saves
# 30 % of the time: the entropy decoding remains.
_REDUCING_GAP = 3

_EXIF_ORIENTATION = 0x0112
# By EXIF orientation: transpose, then reverse rows, then reverse columns.
_ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_NOT_IMAGES = {
    b"version https://git-lfs": "a Git LFS pointer, not the image; run `git lfs pull`",
    b"<!doctype html": "a web page, not an image",
    b"<html": "a web page, not an image",
    b"<svg": "an SVG drawing; save it as PNG",
    b"%pdf": "a PDF document; save its pages as PNG",
}


class Window(NamedTuple):
    """A rectangle of an upright image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Opened(Protocol):
    """An image whose header has been read. Methods raise `UnreadableError`."""

    size: tuple[int, int]
    """(height, width), upright."""
    mode: str
    """Pillow's mode."""
    gray: bool

    def read(self, channels: int, window: Window, size: tuple[int, int], bits: int = 16) -> Pixels:
        """The window (H, W, C), perhaps at a reduced scale, but well above `size` (h, w). bits:

        depth of 16-bit gray, see `as_8_bit`.
        """
        ...

    def check(self, bits: int = 16) -> None:
        """Decode the whole image, as cheaply as possible."""
        ...

    def highest(self) -> int | None:
        """The highest value of gray with more than 8 bits; None for others."""
        ...


def open_image(content: bytes) -> Opened:
    """Detect the format from the content, not the name.

    Raises:
        UnreadableError: empty, not an image, or a damaged header.
    """
    if (jpeg := _plain_jpeg(content)) is not None:
        return jpeg
    if header := _jpeg_header(content):  # CMYK
        _refuse_large(*header[:2])
        _decode_jpeg(content, colorspace="CMYK")  # Pillow overlooks damage in the middle of a file
    return PillowImage(content)


def _plain_jpeg(content: bytes) -> JpegImage | None:
    """A gray or color JPEG; None for anything else."""
    height, width, colors = _jpeg_header(content) or (0, 0, "")
    if colors not in ("Gray", "YCbCr", "RGB"):
        return None
    return JpegImage(content, (height, width), gray=colors == "Gray")


def _jpeg_header(content: bytes) -> tuple[int, int, str] | None:
    """(height, width, colors); None for rare kinds of JPEG, and for damage that Pillow explains."""
    if content[:3] != b"\xff\xd8\xff":
        return None
    try:
        found: tuple[int, int, str] = simplejpeg.decode_jpeg_header(content)[:3]
    except ValueError:
        return None
    return found


class JpegImage:
    """A gray or color JPEG."""

    def __init__(self, content: bytes, stored: tuple[int, int], gray: bool) -> None:
        _refuse_large(*stored)
        self._content = content
        self._stored = stored
        self._turn = _ORIENTATIONS.get(_jpeg_orientation(content), (False, False, False))
        self.size = (stored[1], stored[0]) if self._turn[0] else stored
        self.gray = gray
        self.mode = "L" if gray else "RGB"

    def read(
        self,
        channels: int,
        window: Window,
        size: tuple[int, int],
        bits: int = 16,  # noqa: ARG002  (a JPEG has 8)
    ) -> Pixels:
        swap, reverse_rows, reverse_columns = self._turn
        top, left, height, width = window
        if reverse_rows:
            top = self.size[0] - top - height
        if reverse_columns:
            left = self.size[1] - left - width
        if swap:
            top, left, height, width, size = left, top, width, height, size[::-1]
        pixels = self._decode(channels, (height, width), size)
        # The decoder may have scaled the image down.
        down, across = (now / full for now, full in zip(pixels.shape, self._stored, strict=False))
        pixels = pixels[
            round(top * down) : max(round((top + height) * down), round(top * down) + 1),
            round(left * across) : max(round((left + width) * across), round(left * across) + 1),
        ]
        if swap:
            pixels = pixels.transpose(1, 0, 2)
        if reverse_rows or reverse_columns:
            # torch can't use negative strides.
            rows, columns = (slice(None, None, -1 if r else 1) for r in self._turn[1:])
            pixels = np.ascontiguousarray(pixels[rows, columns])
        return pixels

    def _decode(self, channels: int, part: tuple[int, int], size: tuple[int, int]) -> Pixels:
        """The whole image, at the smallest scale where `part` of it is large enough for `size`."""
        room = min(now / wanted for now, wanted in zip(part, size, strict=True))
        factor = next((f for f in (8, 4, 2) if room >= f * _REDUCING_GAP), 1)
        least = [-(-length // factor) for length in self._stored]
        return _decode_jpeg(
            self._content,
            colorspace="GRAY" if channels == 1 else "RGB",
            **({"min_height": least[0], "min_width": least[1]} if factor > 1 else {}),
        )

    def highest(self) -> None:
        """A JPEG has 8 bits."""

    def check(self, bits: int = 16) -> None:  # noqa: ARG002
        # At 1/8 all coefficients are still read, in half the time.
        _decode_jpeg(self._content, colorspace="GRAY", min_height=1, min_width=1, min_factor=8)


class PillowImage:
    """Any other format; decoded at once, as Pillow rotates some only then."""

    def __init__(self, content: bytes) -> None:
        image = open_with_pillow(content)
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
        bits: int = 16,
    ) -> Pixels:
        top, left, height, width = window
        part = self._image
        if (height, width) != self.size:
            part = part.crop((left, top, left + width, top + height))
        pixels = np.array(as_8_bit(part, channels, bits))
        return pixels[:, :, None] if channels == 1 else pixels

    def highest(self) -> int | None:
        return highest_value(self._image)

    def check(self, bits: int = 16) -> None:
        as_8_bit(self._image, 3 if self._image.mode != "F" else 1, bits)


def has_several(content: bytes) -> bool:
    """Whether a decoded image's file holds more pages or frames than the first."""
    if content[:3] == b"\xff\xd8\xff":
        return False
    try:
        return int(getattr(open_with_pillow(content), "n_frames", 1)) > 1
    except Exception:  # damage after the first frame, which is the only one used
        return False


def read_header(content: bytes) -> tuple[tuple[int, int], bool]:
    """((height, width) upright, whether it is gray), without decoding pixels.

    Raises:
        UnreadableError: no image, or a damaged header.
    """
    if (jpeg := _plain_jpeg(content)) is not None:  # in a twentieth of Pillow's time
        return jpeg.size, jpeg.gray
    image = open_with_pillow(content)
    height, width = image.height, image.width
    if image.format != "TIFF":  # for TIFF, Pillow returns the upright size
        swap, _, _ = _ORIENTATIONS.get(_orientation(image), (False, False, False))
        height, width = (width, height) if swap else (height, width)
    return (height, width), is_gray(image)


def _decode_jpeg(content: bytes, **options: Any) -> Pixels:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(content, **options)
    except ValueError as error:
        if not _is_padding(content, str(error)):
            raise UnreadableError(reason(error)) from error
        pixels = simplejpeg.decode_jpeg(content, strict=False, **options)
    except MemoryError as error:
        raise UnreadableError("there is not enough memory to decode it") from error
    return pixels


def _is_padding(content: bytes, message: str) -> bool:
    """Whether the decoder only complains about fill bytes before the end marker."""
    found = re.search(r"(\d+) extraneous bytes before marker 0xd9", message)
    if not found:
        return False
    end = content.rfind(b"\xff\xd9")
    return not content[max(end - int(found[1]), 0) : end].strip(b"\x00\xff")


def _jpeg_orientation(content: bytes) -> int:
    """The EXIF orientation, 1..8; only parsed if there can be one."""
    scan = content.find(b"\xff\xda")
    if content.find(b"Exif\0\0", 0, scan) < 0 and content.find(b"ns.adobe.com/xap", 0, scan) < 0:
        return 1
    return _orientation(open_with_pillow(content))


def _orientation(image: Image.Image) -> int:
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


def _refuse_large(height: int, width: int) -> None:
    """Pillow's size limit, for images that it does not decode."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        refusal = "more than Pillow's limit against decompression bombs"
        raise UnreadableError(f"{width:,} x {height:,} pixels, {refusal}")


def _foreign(content: bytes) -> str | None:
    start = content[:64].lstrip().lower()
    if content[4:8] == b"ftyp" and content[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "a HEIC image, which Pillow does not read; save it as JPEG or PNG"
    return next((says for prefix, says in _NOT_IMAGES.items() if start.startswith(prefix)), None)


def reason(error: BaseException) -> str:
    """A decoder's error message in plain words."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a kind that Pillow does not read"
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow's limit against decompression bombs"
    return f"damaged: {str(error) or type(error).__name__}"
