"""VGG networks by depth, for images of any size (Simonyan & Zisserman 2014)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from cnnrun.models.mlp import Probability, Widths, hidden_layers
from cnnrun.registry import models

# Convolutions in each of the five blocks; three fully connected layers complete the depth.
_CONVOLUTIONS: dict[int, tuple[int, ...]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


@models.register("vgg")
class VGG(nn.Module):
    """Five blocks of 3 x 3 convolutions, each with max pooling (Simonyan & Zisserman 2014)."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        depth: Literal[11, 13, 16, 19] = 11,
        batch_norm: bool = True,
        width: Annotated[int, Field(ge=1)] = 64,
        head: Widths = [512, 512],
        dropout: Probability = 0.5,
    ) -> None:
        """Blocks pool only while their maps are larger than one pixel, so any image size works.

        depth: Number of layers with weights.
        batch_norm: Batch normalization after each convolution.
        width: Channels of the first block; they double from block to block up to eight times.
        head: Units of the fully connected layers before the last one; the paper's [4096, 4096]
            belong to images of 224 pixels.
        dropout: Chance that a unit of `head` is set to 0.
        """
        super().__init__()
        inputs, height, map_width = input_shape
        blocks = []
        for i, convolutions in enumerate(_CONVOLUTIONS[depth]):
            outputs = width * min(2**i, 8)
            pools = min(height, map_width) > 1
            blocks.append(_block(inputs, outputs, convolutions, batch_norm, pools))
            if pools:
                height, map_width = height // 2, map_width // 2
            inputs = outputs
        self.features = nn.Sequential(*blocks)
        flat = inputs * height * map_width
        self.head = nn.Sequential(
            nn.Flatten(),
            *hidden_layers(flat, head, "relu", dropout, batch_norm=False),
            nn.Linear(head[-1] if head else flat, num_classes),
        )
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                # With torch's own initialization the plain networks of 16 and 19 layers don't
                # train.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(
    inputs: int, outputs: int, convolutions: int, batch_norm: bool, pools: bool
) -> nn.Sequential:
    layers = nn.Sequential()
    for i in range(1, convolutions + 1):
        # Batch normalization subtracts a bias again.
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm)
        layers.add_module(f"conv{i}", convolution)
        if batch_norm:
            layers.add_module(f"norm{i}", nn.BatchNorm2d(outputs))
        layers.add_module(f"relu{i}", nn.ReLU())
        inputs = outputs
    if pools:
        layers.add_module("pool", nn.MaxPool2d(2))
    return layers
