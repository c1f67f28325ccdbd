"""Images that are given as arrays or by Pillow, as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnrun.data.images.modes import UnreadableError, as_8_bit, is_gray
from cnnrun.data.images.reading import AS_STORED, ImageReading
from cnnrun.errors import UserError

MOST_CHANNELS = 16
"""Of images that are given as arrays."""


def as_bytes(image: Any, reading: ImageReading = AS_STORED) -> Tensor:
    """A PIL image, numpy array or tensor as (C, H, W) uint8, 0..255; C is 1 to 16.

    reading: which values are black and white; PIL images of all modes are converted by `as_8_bit`.

    Raises:
        UserError: another type, number of channels, or range of values.
    """
    if isinstance(image, Image.Image):
        try:
            gray = is_gray(image) and image.mode not in ("P", "PA")
            image, reading = np.asarray(as_8_bit(image, 1 if gray else 3, reading)), AS_STORED
        except UnreadableError as error:
            raise UserError(str(error)) from error
    if isinstance(image, np.ndarray):
        tensor = torch.from_numpy(np.array(image))
        tensor = tensor.movedim(-1, 0) if tensor.dim() == 3 else tensor
    elif isinstance(image, Tensor):
        tensor = image
    else:
        kind = type(image).__name__
        raise UserError(f"the image is a {kind}, not a PIL image, numpy array or tensor")
    tensor = tensor[None] if tensor.dim() == 2 else tensor
    if tensor.dim() != 3 or not may_be_channels(tensor.shape):
        found = tuple(image.shape)
        raise UserError(f"the image has shape {found}; 1 to {MOST_CHANNELS} channels are expected")
    return quantized(tensor, reading)


def may_be_channels(shape: torch.Size) -> bool:
    """Whether (C, H, W) can be meant; of other than 1 or 3 channels, the last may not look so."""
    return shape[0] in (1, 3) or (shape[0] <= MOST_CHANNELS and shape[2] > 4)


def quantized(tensor: Tensor, reading: ImageReading = AS_STORED) -> Tensor:
    """Values of any shape as uint8 in 0..255; float in 0..1 is scaled, and so is the range that is
    said.

    Raises:
        UserError: another type, or floats outside 0..1.
    """
    if not tensor.numel():
        raise UserError(f"the image has no pixels: its shape is {tuple(tensor.shape)}")
    if reading.high is not None:
        return _in_range(tensor, reading)
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise UserError(
            f"the image is {tensor.dtype}; expected uint8 or float in 0..1 (dataset.range says "
            "which values are black and white)"
        )
    low, high = (float(value) for value in tensor.aminmax())
    if not (low >= 0 and high <= 1):
        wrong = ~((tensor >= 0) & (tensor <= 1))
        which = f" (sample {_first(wrong)})" if tensor.dim() == 4 else ""
        raise UserError(
            f"the image's values go from {low:g} to {high:g}{which}; expected float in 0..1 "
            "(leave normalizing to cnnrun)"
        )
    return tensor.mul(255).round().to(torch.uint8)


def _first(wrong: Tensor) -> int:
    """The first of several images (N, C, H, W) in which something is True."""
    return int(wrong.flatten(1).any(1).nonzero()[0])


def _in_range(tensor: Tensor, reading: ImageReading) -> Tensor:
    """`tensor` by a range that is said, row by row, since a float64 of it all may be too large.

    Raises:
        UserError: values lie beyond the bits that they are said to have.
    """
    values = tensor.numpy()  # torch has no minimum of uint16
    low, high = values.min(), values.max()
    is_number = not np.isnan(low)  # the least of values with a NaN is NaN
    if not is_number or (not reading.clips and (low < reading.low or high > reading.high)):
        key = "range" if reading.clips else "bits"
        meant = f"expected {reading.low:g} to {reading.high:g} (dataset.{key})"
        right = (values >= reading.low) & (values <= reading.high)
        wrong = torch.from_numpy(~right if is_number else np.isnan(values))
        which = f" (sample {_first(wrong)})" if tensor.dim() == 4 else ""
        raise UserError(f"the image's values go from {low:g} to {high:g}{which}; {meant}")
    return torch.stack([torch.from_numpy(reading.scaled(row, 255)) for row in values])
