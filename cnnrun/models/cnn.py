"""A convolutional network whose every block and whose head are written in YAML."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.activations import Activation
from cnnrun.models.block import Block, Groups, Kind, Padding, Pooling, Positive, Shape
from cnnrun.models.dropout import Dropout
from cnnrun.models.locally_connected import PaddingMode
from cnnrun.models.mlp import Probability, Widths, hidden_layers
from cnnrun.registry import models


@models.register("cnn")
class CNN(nn.Module):
    """Blocks of convolution, activation and pooling, then fully connected layers or an average."""

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        channels: Annotated[Widths, Field(min_length=1)] = [32, 64],
        kind: Kind | list[Kind] = "conv",
        kernel_size: Positive | list[Positive] = 3,
        stride: Positive | list[Positive] = 1,
        padding: Padding | list[Padding] = "same",
        padding_mode: PaddingMode | list[PaddingMode] = "zeros",
        dilation: Positive | list[Positive] = 1,
        groups: Groups | list[Groups] = 1,
        pooling: Pooling | list[Pooling] = "max",
        pool_size: Positive | list[Positive] = 2,
        pool_stride: Positive | list[Positive] | None = None,
        convolutions_per_block: Positive | list[Positive] = 1,
        activation: Activation | list[Activation] = "relu",
        batch_norm: bool | list[bool] = False,
        spatial_dropout: Probability | list[Probability] = 0.0,
        head_pooling: Literal["flatten", "average"] = "flatten",
        head: Widths = [],
        dropout: Probability = 0.0,
    ) -> None:
        """One value for all blocks, or a list with an entry for every entry of `channels`.

        kind: `local` has a convolution's connections without sharing weights between positions.
        stride: of a block's first convolution; the others have 1.
        padding: `same` keeps the size, and with a stride leaves ceil(size / stride) (the kernel
            must be odd); `valid` is 0; a number is pixels on each side.
        groups: `depthwise` convolves every channel by itself.
        pool_stride: `pool_size` unless given.
        head_pooling: `flatten` keeps positions for the head, `average` (global average pooling,
            Lin et al. 2014) drops them.
        head: units of the fully connected layers before the last one, with the last block's
            activation; `dropout` after each, or before the last one if there are none.

        Raises:
            UserError: a list of another length, a kernel or pool larger than its maps, or channels
                that can't be grouped.
        """
        super().__init__()
        per_block: dict[str, Any] = {
            "channels": channels,
            "kind": kind,
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "padding_mode": padding_mode,
            "dilation": dilation,
            "groups": groups,
            "pooling": pooling,
            "pool_size": pool_size,
            "pool_stride": pool_size if pool_stride is None else pool_stride,
            "convolutions_per_block": convolutions_per_block,
            "activation": activation,
            "batch_norm": batch_norm,
            "spatial_dropout": spatial_dropout,
        }
        blocks = blocks_of(per_block, len(channels))
        self.features = nn.Sequential()
        shape = input_shape
        for block in blocks:
            layers, shape = block.layers(shape)
            self.features.append(layers)
        depth, height, width = shape
        flat = depth if head_pooling == "average" else depth * height * width
        self.head = nn.Sequential(
            *([nn.AdaptiveAvgPool2d(1)] if head_pooling == "average" else []),
            nn.Flatten(),
            *([Dropout(dropout)] if dropout and not head else []),
            *hidden_layers(flat, head, blocks[-1].activation, dropout, batch_norm=False),
            nn.Linear(head[-1] if head else flat, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def blocks_of(settings: dict[str, Any], count: int) -> list[Block]:
    """`count` blocks, each with its entry of the settings that are lists.

    Raises:
        UserError: a list has not one entry a block.
    """
    for key, value in settings.items():
        if isinstance(value, list) and len(value) != count:
            raise UserError(
                f"{key}: {len(value)} entries for {count} blocks (channels has {count}); "
                f"give one value for all, or a list of {count}"
            )
    return [
        Block(
            number=i + 1,
            **{key: v[i] if isinstance(v, list) else v for key, v in settings.items()},
        )
        for i in range(count)
    ]
