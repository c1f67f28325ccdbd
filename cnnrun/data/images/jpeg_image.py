"""JPEG images, decoded by libjpeg-turbo through simplejpeg."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import simplejpeg

from cnnrun.data.images.modes import UnreadableError, stretched
from cnnrun.data.images.pillow_image import open_with_pillow, orientation, reason
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.images.window import Pixels, Window, no_such_page, refuse_large

# A JPEG is decoded at 1/2, 1/4 or 1/8 scale where that leaves at least this many times the target
# size. Measured on photographs against decoding in full: PSNR 38 to 49, median 45 dB (bilinear
# against bicubic resizing: 38 to 39); at 2 it is 35, median 42. From 4000x3000 to 224x224 it saves
# 30 % of the time: the entropy decoding remains.
_REDUCING_GAP = 3

# By EXIF orientation: transpose, then reverse rows, then reverse columns.
ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def plain_jpeg(content: bytes, reading: ImageReading) -> JpegImage | None:
    """A gray or color JPEG; None for anything else."""
    height, width, colors = jpeg_header(content) or (0, 0, "")
    if colors not in ("Gray", "YCbCr", "RGB"):
        return None
    if reading.page:
        raise UnreadableError(no_such_page(reading.page, 1))
    return JpegImage(content, (height, width), colors == "Gray", reading)


def jpeg_header(content: bytes) -> tuple[int, int, str] | None:
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

    def __init__(
        self, content: bytes, stored: tuple[int, int], gray: bool, reading: ImageReading
    ) -> None:
        refuse_large(*stored)
        self._reading = reading
        self._content = content
        self._stored = stored
        self._turn = ORIENTATIONS.get(_jpeg_orientation(content), (False, False, False))
        self.size = (stored[1], stored[0]) if self._turn[0] else stored
        self.gray = gray
        self.mode = "L" if gray else "RGB"

    def read(
        self,
        channels: int,
        window: Window,
        size: tuple[int, int],
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
        return stretched(pixels, self._reading) if self._reading.clips else pixels

    def _decode(self, channels: int, part: tuple[int, int], size: tuple[int, int]) -> Pixels:
        """The whole image, at the smallest scale where `part` of it is large enough for `size`."""
        room = min(now / wanted for now, wanted in zip(part, size, strict=True))
        factor = next((f for f in (8, 4, 2) if room >= f * _REDUCING_GAP), 1)
        least = [-(-length // factor) for length in self._stored]
        return decode_jpeg(
            self._content,
            colorspace="GRAY" if channels == 1 else "RGB",
            **({"min_height": least[0], "min_width": least[1]} if factor > 1 else {}),
        )

    def highest(self) -> None:
        """A JPEG has 8 bits."""

    def check(self) -> None:
        # At 1/8 all coefficients are still read, in half the time.
        decode_jpeg(self._content, colorspace="GRAY", min_height=1, min_width=1, min_factor=8)


def decode_jpeg(content: bytes, **options: Any) -> Pixels:
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
    return orientation(open_with_pillow(content))
