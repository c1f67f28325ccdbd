"""Resampling a batch of images at transformed positions, once for any number of transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnrun.data.augmentations.base import Interpolation, PaddingMode, matrix_dtype


@dataclass(frozen=True)
class Warp:
    """Where each output pixel reads: `matrices` (N, 3, 3), see `Geometric.matrices`."""

    matrices: Tensor
    padding_mode: PaddingMode = "zeros"


def resample(images: Tensor, warps: Sequence[Warp], interpolation: Interpolation) -> Tensor:
    """Apply `warps`, the first one first.

    images: (N, C, H, W), uint8 in 0..255 or float32 in 0..1.

    Returns:
        the same shape; with `nearest` the same dtype, with `bilinear` float32 in 0..1.
    """
    _, _, height, width = images.shape
    x, y = _source_positions(_compose(warps), height, width)
    if interpolation == "nearest":
        return _read_nearest(images, x, y)
    return _read_bilinear(to_unit(images), x, y)


def to_unit(images: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in 0..1; float images unchanged."""
    return images / 255 if images.dtype == torch.uint8 else images


def _compose(warps: Sequence[Warp]) -> list[Warp]:
    """Compose adjacent warps with black outside: nothing is lost at borders between them."""
    composed: list[Warp] = []
    for warp in warps:
        if composed and warp.padding_mode == composed[-1].padding_mode == "zeros":
            composed[-1] = Warp(composed[-1].matrices @ warp.matrices)
        else:
            composed.append(warp)
    return composed


def _source_positions(warps: Sequence[Warp], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each output pixel reads, two (N, H, W) float32; pixel i has its centre at i.

    Each point is traced back from the output, through the last warp first. At each border it is
    folded into the image, or marked as black by a position far outside.
    """
    plane = _plane(height, width, warps[0].matrices.device)
    x, y, black = plane.x, plane.y, None
    for remaining, warp in zip(range(len(warps) - 1, -1, -1), reversed(warps), strict=True):
        x, y = _transform(warp.matrices, x, y, plane)
        if warp.padding_mode != "zeros":
            x, y = _fold(x, width, warp.padding_mode), _fold(y, height, warp.padding_mode)
        elif remaining:
            outside = _is_outside(x, width) | _is_outside(y, height)
            black = outside if black is None else black | outside
    if black is not None:
        x = x.masked_fill(black, -2.0)
    return x, y


@dataclass(frozen=True)
class _Plane:
    """Constants of the transforms for one image size."""

    x: Tensor  # (1, 1, W) float32, the columns 0..W-1
    y: Tensor  # (1, H, 1) float32, the rows 0..H-1
    from_centre: Tensor  # (3, 3), positions of pixels to positions from the centre
    rounding: Tensor  # (2, 3), added before coefficients are rounded down to whole 1/65536
    half: Tensor  # (2, 3), from Pillow's positions, whose pixel 0 has its centre at 0.5, to ours


@lru_cache(maxsize=64)
def _plane(height: int, width: int, device: torch.device) -> _Plane:
    """Cached: building these takes as long as transforming a small batch."""
    x = torch.arange(width, dtype=torch.float32, device=device).view(1, 1, width)
    y = torch.arange(height, dtype=torch.float32, device=device).view(1, height, 1)
    from_centre = torch.eye(3, dtype=matrix_dtype(device), device=device)
    half = torch.zeros_like(from_centre[:2])
    half[:, 2] = 0.5
    rounding = torch.full_like(half, 0.5)
    for axis, length in enumerate((width, height)):
        from_centre[axis, 2] = -(length - 1) / 2
        rounding[axis, 2] += 65536 * length / 2
    return _Plane(x, y, from_centre, rounding, half)


def _transform(matrices: Tensor, x: Tensor, y: Tensor, plane: _Plane) -> tuple[Tensor, Tensor]:
    """Multiply positions by matrices, with Pillow's arithmetic.

    Pillow rounds the coefficients to 1/65536, and so does this. Up to 128 pixels the sums are then
    exact in float32: nearest pixels are Pillow's, and the same on all devices. In larger images
    some pixels in a million, whose positions lie on an edge between two, differ.
    """
    exact = matrices[:, :2] @ plane.from_centre
    rounded = (exact * 65536).add_(plane.rounding).floor_().div_(65536).sub_(plane.half)
    a, b, c, d, e, f = rounded.float().view(-1, 6, 1, 1).unbind(1)
    return (a * x + c) + b * y, (d * x + f) + e * y


def _fold(position: Tensor, length: int, padding_mode: PaddingMode) -> Tensor:
    """Fold positions outside 0..length-1 inside."""
    last = length - 1
    if padding_mode == "reflect" and last > 0:
        position = last - (position.remainder(2 * last) - last).abs()
    return position.clamp(0, last)


def _is_outside(position: Tensor, length: int) -> Tensor:
    return (position < -0.5) | (position >= length - 0.5)


def _read_nearest(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The pixel at each position, black outside: one gather from the images in a black frame.

    Uses x and y up.
    """
    count, channels, height, width = images.shape
    framed = F.pad(images, (1, 1, 1, 1)).flatten(2)
    column = x.add_(1.5).floor_().clamp_(0, width + 1).int()
    row = y.add_(1.5).floor_().clamp_(0, height + 1).int()
    index = (row.mul_(width + 2) + column).long().view(count, 1, height * width)
    return framed.gather(2, index.expand(-1, channels, -1)).view_as(images)


def _read_bilinear(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Means of the four pixels around each position, fading to black at the border."""
    height, width = images.shape[-2:]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    return F.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)
