"""A convolutional network whose blocks and head are described in YAML."""

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
    """Blocks of convolution, activation and pooling, then dense layers or global pooling."""

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

        `valid` is 0; a number is pixels on each side.

        `dropout` after each, or before the last one if there are none.

        channels: Channels of each block; its length is the number of blocks.
        kind: `conv`, or `local`: a convolution's connections without sharing weights between
            positions.
        kernel_size: Side of the kernels, in pixels.
        stride: Stride of a block's first convolution; the others have 1.
        padding: `same` keeps the size, and with a stride leaves ceil(size / stride); `valid` is
            none; a number is pixels on each side.
        padding_mode: What the padding holds.
        dilation: Distance between the pixels that a kernel reads.
        groups: Groups of channels that are convolved separately; `depthwise` is one for each
            channel.
        pooling: What ends a block.
        pool_size: Side of the pooling window, in pixels.
        pool_stride: Stride of the pooling window; `pool_size` unless given.
        convolutions_per_block: Convolutions before the pooling.
        activation: Activation after each convolution.
        batch_norm: Batch normalization after each convolution.
        spatial_dropout: Chance that a whole feature map is set to 0 after a block.
        head_pooling: `flatten` keeps positions for the head, `average` (global average pooling, Lin
            et al. 2014) drops them.
        head: Units of the fully connected layers before the last one.
        dropout: Chance that a unit is set to 0, after each layer of `head`, or before the last
            layer.

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
        average = head_pooling == "average"
        self.head = _head(shape, average, head, num_classes, dropout, blocks[-1].activation)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _head(
    shape: tuple[int, ...],
    average: bool,
    widths: Widths,
    num_classes: int,
    dropout: float,
    activation: Activation,
) -> nn.Sequential:
    """From feature maps of `shape` (C, H, W) to logits: pooled or flattened, then dense layers."""
    depth, height, width = shape
    flat = depth if average else depth * height * width
    return nn.Sequential(
        *([nn.AdaptiveAvgPool2d(1)] if average else []),
        nn.Flatten(),
        *([Dropout(dropout)] if dropout and not widths else []),
        *hidden_layers(flat, widths, activation, dropout, batch_norm=False),
        nn.Linear(widths[-1] if widths else flat, num_classes),
    )


def blocks_of(settings: dict[str, Any], count: int) -> list[Block]:
    """`count` blocks, each with its entry of the settings that are lists.

    Raises:
        UserError: a list does not have one entry per block.
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
