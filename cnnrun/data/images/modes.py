"""Any of Pillow's modes as 8-bit gray or RGB, keeping the full range of values."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from cnnrun.data.images.reading import AS_STORED, ImageReading

_TIFF_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


class UnreadableError(Exception):
    """Why bytes can't be used as an image, in plain words."""


def as_8_bit(image: Image.Image, channels: int, reading: ImageReading = AS_STORED) -> Image.Image:
    """`image` in mode L (channels 1) or RGB (channels 3), values 0..255.

    * transparent images are put on white;
    * 16-bit gray is scaled from 0..65,535 or the range of `reading`; mode I too, as it holds
      16-bit values; mode F from 0..1 (16-bit color is scaled by Pillow as it reads the file);
    * a range that clips also stretches images of 8 bits, each channel separately;
    * color to gray is Pillow's luma (ITU-R 601-2); CMYK to RGB is Pillow's, without ICC profiles.

    Raises:
        UnreadableError: whole numbers outside that range, or floats outside 0..1.
    """
    deep = image.mode.startswith("I") or image.mode == "F"
    if deep:
        image = Image.fromarray(_scaled(image, reading))
    elif image.mode == "LAB":
        image = _from_lab(image)
    elif image.has_transparency_data:
        image = _on_white(image)
    image = image.convert("L" if channels == 1 else "RGB")
    return image if deep or not reading.clips else Image.fromarray(stretched(image, reading))


def stretched(pixels: Any, reading: ImageReading) -> NDArray[np.uint8]:
    """What has 8 bits, (H, W) or (H, W, C), by a range that was said."""
    table: NDArray[np.uint8] = reading.scaled(np.arange(256), 255)
    return np.take(table, np.asarray(pixels))


def with_black_as_zero(image: Image.Image) -> Image.Image:
    """A TIFF may declare 0 as white; Pillow inverts 8-bit ones, but not 16-bit ones."""
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return Image.fromarray(65535 - np.asarray(image))
    return image


def is_gray(image: Image.Image) -> bool:
    """Whether the mode, or every color of the palette, is gray; reads no pixels."""
    if image.palette is not None and image.mode in ("P", "PA"):
        # `image.getpalette` would decode the image.
        order, colors = image.palette.getdata()
        whole = len(colors) - len(colors) % len(order)  # a damaged file's last color may be cut off
        values = np.frombuffer(colors[:whole], np.uint8).reshape(-1, len(order))[:, :3]
        return bool((values == values[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def highest_value(image: Image.Image) -> int | None:
    """For gray of 16 or 32 bits; None for other modes."""
    return int(np.asarray(image).max()) if image.mode.startswith("I") else None


def _scaled(image: Image.Image, reading: ImageReading) -> NDArray[np.uint8]:
    """Gray of 16, 32 or float bits as (H, W) uint8."""
    values: NDArray[Any] = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not reading.clips and not (low >= 0 and high <= 1):
            raise UnreadableError(
                f"its float values go from {low:g} to {high:g}; expected 0 to 1 (dataset.range)"
            )
        # Bits are of whole numbers.
        return (reading if reading.clips else AS_STORED).scaled(values, 1)
    white = 65535 if reading.high is None else reading.high
    if not reading.clips and (low < 0 or high > white):
        kind = "32-bit" if high > 65535 else "16-bit"
        raise UnreadableError(
            f"its {kind} values go from {low} to {high}; expected 0 to {white:g} (dataset.bits, "
            "dataset.range)"
        )
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values = np.where(values == transparent, white, values)
    return reading.scaled(values, white)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # the only conversion from premultiplied gray
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, _lab_to_srgb())
    assert converted is not None
    return converted


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
