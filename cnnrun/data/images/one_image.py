"""One image from a file, scaled down if too large: content and styles of style transfer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from cnnrun.data.images.decoding import decode
from cnnrun.errors import UserError
from cnnrun.runtime.paths import expanded

_SAMPLES = ("china.jpg", "flower.jpg")


def read_image(file: str, longest: int | None = None, channels: int = 3) -> Tensor:
    """The image in `file`: (C, H, W) float32, 0..1, upright, transparency on white.

    file: a path, or `sample:china.jpg` and `sample:flower.jpg`, photos that ship in scikit-learn.
    longest: limit for height and width, in pixels; a larger image is averaged down.

    Raises:
        UserError: there is none, or it can't be decoded.
    """
    pixels = decode(image_path(file), channels)
    scale = 1.0 if longest is None else longest / max(pixels.shape[1:])
    whole = pixels.float().div_(255)
    return whole if scale >= 1 else resized(whole, *scaled_size(whole.shape[1:], scale))


def image_path(file: str) -> Path:
    """The path of the image called `file`.

    Raises:
        UserError: there is no such sample.
    """
    if not file.startswith("sample:"):
        return expanded(file)
    name = file.removeprefix("sample:")
    if name not in _SAMPLES:
        raise UserError(f"no sample image '{name}'; there are {', '.join(_SAMPLES)}")
    # Importing scikit-learn just for its folder would take 0.8 s.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "datasets" / "images" / name


def scaled_size(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """(height, width) of an image scaled down, at least one pixel each."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """(C, H, W) or (N, C, H, W) at another size, averaged where it shrinks; 0..1 stays 0..1."""
    whole = image if image.dim() == 4 else image[None]
    if whole.shape[2:] == (height, width):
        return image
    new = F.interpolate(whole, (height, width), mode="bilinear", antialias=True).clamp_(0, 1)
    return new if image.dim() == 4 else new[0]
