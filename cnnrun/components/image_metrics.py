"""How alike two images are: PSNR and SSIM, one number per image, differentiable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Constants of the paper, for pixels in 0..1.
_C1, _C2 = 0.01**2, 0.03**2
_SIGMA = 1.5
_WINDOW = 11


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), mean over windows that lie inside the image.

    images, others: (N, C, H, W) float32 in 0..1. The window is Gaussian, 11x11 with a standard
    deviation of 1.5 pixels, or the largest odd size that fits a smaller image.

    Returns: (N,), 1 for equal images.
    """
    channels, height, width = images.shape[1:]
    rows, columns = (_gaussian(size, images) for size in (height, width))
    window = (rows[:, None] * columns[None]).expand(channels, 1, -1, -1)

    def blur(images: Tensor) -> Tensor:
        return F.conv2d(images, window, groups=channels)

    mean_a, mean_b = blur(images), blur(others)
    variance_a = blur(images * images) - mean_a**2
    variance_b = blur(others * others) - mean_b**2
    covariance = blur(images * others) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    size = (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    return (likeness / size).flatten(1).mean(1)


def _gaussian(size: int, like: Tensor) -> Tensor:
    taps = min(_WINDOW, size - (size + 1) % 2)
    distance = torch.arange(taps, dtype=like.dtype, device=like.device) - (taps - 1) / 2
    weights = torch.exp(-(distance**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


def psnr(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of mean squared errors (of pixels in 0..1), any shape.

    100 dB at most, so that a perfect image does not make a mean infinite.
    """
    return -10 * torch.log10(mse.clamp(min=1e-10))
