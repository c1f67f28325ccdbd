"""Operations of the policies on the tones of images, (N, C, H, W) float32 in 0..1.

torchvision's kernels are used where they take no parameter: they treat each image alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cnnrun.data.augmentations.base import per_image


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Set the lowest `bits` (N,), rounded, of the eight of each value to 0."""
    step = 2 ** per_image(bits).round()
    return ((images * 255).round() / step).floor() * step / 255


def solarize(images: Tensor, share: Tensor) -> Tensor:
    """Invert the brightest values: a fraction `share` (N,) of the range, 0 (none) to 1 (all)."""
    # Of 256 levels, so that a fraction of 0 spares even white.
    return torch.where(images >= (1 - per_image(share)) * (256 / 255), 1 - images, images)


def sharpen(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance from a smoothed image by `factors` (N,): 0 is smooth, 1 no change.

    Smooth is the mean of 3 x 3 pixels, the middle one five times, as in Pillow.
    """
    if min(images.shape[-2:]) < 3:
        return images
    rows = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    sharpened = images.clone()  # the border, which has no full square, stays
    inner = sharpened[..., 1:-1, 1:-1]
    smooth = (squares + 4 * inner) / 13
    inner.copy_(torch.lerp(smooth, inner, per_image(factors)).clamp_(0, 1))
    return sharpened


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of each image to the full range."""
    from torchvision.transforms.v2 import functional

    stretched: Tensor = functional.autocontrast(images)
    return stretched


def equalize(images: Tensor) -> Tensor:
    """Make the histogram of each channel of each image as even as 256 levels allow."""
    from torchvision.transforms.v2 import functional

    equalized: Tensor = functional.equalize(images)
    return equalized
