"""A small network made to learn CIFAR-10 in few epochs (after Jordan 2024, and Page 2018)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.block import Positive, Shape
from cnnrun.registry import models

# Eigenvalues of patches below this are noise and not enlarged further.
_SMALLEST = 5e-4


@models.register("whitened_cnn")
class WhitenedCNN(nn.Module):
    """A frozen whitening layer, then three groups of two convolutions: fast on small images."""

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        channels: Annotated[list[Positive], Field(min_length=3, max_length=3)] = [64, 256, 256],
        patch: Annotated[int, Field(ge=2, le=5)] = 2,
        head_scale: Annotated[float, Field(gt=0)] = 1 / 9,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.4,
    ) -> None:
        """channels: Channels of the three groups.
        patch: Side of the whitening filters; each principal direction of the training patches gets
            two, of either sign.
        head_scale: Factor of the logits, so that training starts with small ones.
        norm_momentum: Weight of a new batch in the running statistics.

        Raises:
            UserError: images of less than 31 pixels a side.
        """
        super().__init__()
        depth, height, width = input_shape
        if min(height, width) < 31:
            raise UserError(f"whitened_cnn needs 31 pixels a side, not {height} x {width}")
        filters = 2 * depth * patch * patch
        self.whiten = nn.Conv2d(depth, filters, patch, bias=True)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]
        self.activation = nn.GELU()
        widths = [filters, *channels]
        self.groups = nn.Sequential(*(Group(a, b, norm_momentum) for a, b in pairwise(widths)))
        self.pool = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels[-1], num_classes, bias=False)
        self.head_scale = head_scale

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        features = self.pool(self.groups(self.activation(self.whiten(images))))
        logits: Tensor = self.head(features) * self.head_scale
        return logits

    @torch.no_grad()
    def init_from_data(self, images: Tensor) -> None:
        """Set the whitening filters: the principal directions of patches, scaled to variance 1.

        images: (N, C, H, W) float32, normalized; some thousands of the training split.
        """
        channels, side = images.shape[1], self.whiten.kernel_size[0]
        patches = F.unfold(images, side).transpose(1, 2).reshape(-1, channels * side * side)
        covariance = torch.cov(patches.double().T)
        values, vectors = torch.linalg.eigh(covariance)
        filters = (vectors / (values + _SMALLEST).sqrt()).T.flip(0)
        both = torch.cat((filters, -filters)).view(-1, channels, side, side)
        self.whiten.weight.copy_(both)


class Group(nn.Module):
    """Convolution, pooling, normalization; then convolution and normalization."""

    def __init__(self, inputs: int, outputs: int, norm_momentum: float) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = _normalization(outputs, norm_momentum)
        self.activation1 = nn.GELU()
        self.conv2 = _convolution(outputs, outputs)
        self.norm2 = _normalization(outputs, norm_momentum)
        self.activation2 = nn.GELU()

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H // 2, W // 2)."""
        maps = self.activation1(self.norm1(self.pool(self.conv1(maps))))
        deeper: Tensor = self.activation2(self.norm2(self.conv2(maps)))
        return deeper


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution whose first filters pass their input through (Zagoruyko 2017)."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight[:inputs])
    return layer


def _normalization(channels: int, momentum: float) -> nn.BatchNorm2d:
    """Batch normalization without a scale: the next layer has one."""
    layer = nn.BatchNorm2d(channels, momentum=momentum)
    layer.weight.requires_grad_(False)
    return layer
