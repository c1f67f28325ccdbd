"""Losses that compare images pixel by pixel or window by window (`mse` and `l1` also do)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cnnrun.components.image_metrics import ssim
from cnnrun.registry import losses


@losses.register("bce")
class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of pixels in 0..1 (or probabilities), mean over the image."""

    compares = ("pixels",)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, ...) in 0..1, both, to losses (N,); outputs outside 0..1 are clamped."""
        outputs = outputs.float().clamp(0, 1)
        return F.binary_cross_entropy(outputs, targets, reduction="none").flatten(1).mean(1)


@losses.register("ssim")
class Dissimilarity(nn.Module):
    """1 - structural similarity (SSIM) of images in 0..1 (Wang et al. 2004)."""

    compares = ("pixels",)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, C, H, W) in 0..1, both, to losses (N,) in 0..2."""
        return 1 - ssim(outputs.float(), targets)
