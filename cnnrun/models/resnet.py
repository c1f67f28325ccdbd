"""Residual networks for small images, as in section 4.2 of He et al. 2015."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.models.dropout import Dropout
from cnnrun.models.mlp import Probability
from cnnrun.registry import models

Depth = Literal[8, 14, 20, 32, 44, 56, 110]
Shortcut = Literal["identity", "projection"]


@models.register("resnet")
class ResNet(nn.Module):
    """Residual network for small images: 6n + 2 layers in three stages (He et al. 2015)."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        depth: Depth = 20,
        width: Annotated[int, Field(ge=1)] = 16,
        stem: Literal["small", "imagenet"] = "small",
        shortcut: Shortcut = "identity",
        dropout: Probability = 0.0,
    ) -> None:
        """depth: Number of layers, 6n + 2.
        width: Channels of the first stage; each later stage halves the feature maps and doubles
            them.
        stem: `small` is a 3 x 3 convolution; `imagenet` a 7 x 7 one and a pool, which leave a
            quarter of the height and width, for images of 100 pixels and more.
        shortcut: Where the shape changes, `identity` (the paper's option A) takes every other pixel
            and adds channels of zeros, `projection` (option B) learns a 1 x 1 convolution.
        dropout: Chance that a feature is set to 0 before the last layer.
        """
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("stem", _stem(stem, input_shape[0], width))
        inputs = width
        for stage in range(3):
            outputs = width * 2**stage
            blocks = nn.Sequential()
            for i in range((depth - 2) // 6):
                stride = 2 if stage and not i else 1
                blocks.append(ResidualBlock(inputs, outputs, stride, shortcut))
                inputs = outputs
            self.features.add_module(f"stage{stage + 1}", blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            *([Dropout(dropout)] if dropout else []),
            nn.Linear(inputs, num_classes),
        )
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class ResidualBlock(nn.Module):
    """relu(x + F(x)), F two 3 x 3 convolutions; the first may stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut)
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H / stride, W / stride), rounded up."""
        residual = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(maps)))))
        result: Tensor = self.relu2(residual + self.shortcut(maps))
        return result


class SubsampledIdentity(nn.Module):
    """Every `stride`-th pixel, and added channels of zeros."""

    def __init__(self, stride: int, added_channels: int) -> None:
        super().__init__()
        self.stride, self.added_channels = stride, added_channels

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + added, H / stride, W / stride), rounded up."""
        kept = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, 0, self.added_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, added_channels={self.added_channels}"


def _stem(stem: str, inputs: int, width: int) -> nn.Sequential:
    layers = nn.Sequential()
    if stem == "small":
        layers.add_module("conv", nn.Conv2d(inputs, width, 3, padding=1, bias=False))
    else:
        layers.add_module("conv", nn.Conv2d(inputs, width, 7, stride=2, padding=3, bias=False))
    layers.add_module("norm", nn.BatchNorm2d(width))
    layers.add_module("relu", nn.ReLU())
    if stem == "imagenet":
        layers.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return layers


def _shortcut(inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if shortcut == "identity":
        return SubsampledIdentity(stride, outputs - inputs)
    projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))
