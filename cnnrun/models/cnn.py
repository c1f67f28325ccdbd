"""A convolutional network whose every block and whose head are written in YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.activations import Activation, activation_layer
from cnnrun.models.locally_connected import LocallyConnected2d
from cnnrun.models.mlp import Probability, Widths, hidden_layers
from cnnrun.registry import models

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Kind = Literal["conv", "local"]
Padding = Literal["same", "valid"] | NonNegative
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Groups = Literal["depthwise"] | Positive
Pooling = Literal["max", "average", "none"]


@dataclass(frozen=True)
class Block:
    """One block's settings: what the lists and single values of the YAML mean for it."""

    number: int
    channels: int
    kind: Kind
    kernel_size: int
    stride: int
    padding: int
    padding_mode: PaddingMode
    dilation: int
    groups: Groups
    pooling: Pooling
    pool_size: int
    pool_stride: int
    convolutions: int
    activation: Activation
    batch_norm: bool
    spatial_dropout: float


@models.register("cnn")
class CNN(nn.Module):
    """Blocks of convolution, activation and pooling, then fully connected layers or an average."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        channels: Annotated[Widths, Field(min_length=1)] = [32, 64],
        kind: Kind | list[Kind] = "conv",
        kernel_size: Positive | list[Positive] = 3,
        stride: Positive | list[Positive] = 1,
        padding: Padding | list[Padding] = "same",
        padding_mode: PaddingMode = "zeros",
        dilation: Positive | list[Positive] = 1,
        groups: Groups | list[Groups] = 1,
        pooling: Pooling | list[Pooling] = "max",
        pool_size: Positive | list[Positive] = 2,
        pool_stride: Positive | list[Positive] | None = None,
        convolutions_per_block: Positive | list[Positive] = 1,
        activation: Activation = "relu",
        batch_norm: bool = False,
        spatial_dropout: Probability = 0.0,
        head_pooling: Literal["flatten", "average"] = "flatten",
        head: Widths = [],
        dropout: Probability = 0.0,
    ) -> None:
        """Each block's value, or one for all: a list has an entry for every entry of `channels`.

        padding: `same` keeps the size where stride is 1 (odd reach), `valid` is 0.
        groups: `depthwise` convolves every channel by itself.
        pool_stride: `pool_size` unless given.
        head_pooling: `flatten` keeps positions for the head, `average` (global average pooling,
            Lin et al. 2014) drops them.
        head: units of the fully connected layers before the last one; `dropout` after each.

        Raises:
            UserError: a list of another length, or a kernel or pool larger than its maps.
        """
        super().__init__()
        per_block: dict[str, Any] = {
            "kind": kind,
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "pooling": pooling,
            "pool_size": pool_size,
            "pool_stride": pool_stride or pool_size,
            "convolutions": convolutions_per_block,
        }
        shape = input_shape
        blocks = []
        for i, width in enumerate(channels):
            own = {key: _of_block(key, value, i, len(channels)) for key, value in per_block.items()}
            own["padding"] = _amount(own["padding"], own["kernel_size"], own["dilation"])
            block = Block(
                number=i + 1,
                channels=width,
                activation=activation,
                padding_mode=padding_mode,
                batch_norm=batch_norm,
                spatial_dropout=spatial_dropout,
                **own,
            )
            layers, shape = _build_block(block, shape)
            blocks.append(layers)
        self.features = nn.Sequential(*blocks)
        depth, height, width = shape
        flat = depth if head_pooling == "average" else depth * height * width
        self.head = nn.Sequential(
            *([nn.AdaptiveAvgPool2d(1)] if head_pooling == "average" else []),
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout and not head else []),
            *hidden_layers(flat, head, activation, dropout, batch_norm=False),
            nn.Linear(head[-1] if head else flat, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _of_block(key: str, value: Any, block: int, blocks: int) -> Any:
    if not isinstance(value, list):
        return value
    if len(value) != blocks:
        raise UserError(f"{key}: {len(value)} entries for {blocks} blocks; give one or {blocks}")
    return value[block]


def _amount(padding: Padding, kernel_size: int, dilation: int) -> int:
    """Pixels on each side. `same` with a stride keeps what the stride leaves, as ResNets pad."""
    if padding == "same":
        if dilation * (kernel_size - 1) % 2:
            raise UserError(
                f"padding same: a kernel of {kernel_size} (dilation {dilation}) has no middle to "
                "pad evenly around; use an odd kernel_size, or padding by number"
            )
        return dilation * (kernel_size - 1) // 2
    return 0 if padding == "valid" else padding


def _build_block(
    block: Block, shape: tuple[int, int, int]
) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """The layers of a block and the (C, H, W) of what they give."""
    layers = nn.Sequential()
    for i in range(block.convolutions):
        suffix = "" if block.convolutions == 1 else str(i + 1)
        convolution, shape = _convolution(block, shape)
        layers.add_module(f"{block.kind}{suffix}", convolution)
        if block.batch_norm:
            layers.add_module(f"norm{suffix}", nn.BatchNorm2d(block.channels))
        layers.add_module(f"{block.activation}{suffix}", activation_layer(block.activation))
    if block.pooling != "none":
        shape = _slide(block, shape, "pool_size", block.pool_size, block.pool_stride, 0)
        pool = nn.MaxPool2d if block.pooling == "max" else nn.AvgPool2d
        layers.add_module("pool", pool(block.pool_size, block.pool_stride))
    if block.spatial_dropout:
        layers.add_module("dropout", nn.Dropout2d(block.spatial_dropout))
    return layers, shape


def _convolution(
    block: Block, shape: tuple[int, int, int]
) -> tuple[nn.Module, tuple[int, int, int]]:
    inputs, height, width = shape
    reach = block.dilation * (block.kernel_size - 1) + 1
    after = _slide(block, shape, "kernel_size", reach, block.stride, block.padding)
    groups = inputs if block.groups == "depthwise" else block.groups
    if inputs % groups or block.channels % groups:
        raise UserError(
            f"block {block.number}: {inputs} channels in and {block.channels} out "
            f"can't be parted into {groups} groups"
        )
    if block.kind == "local":
        if groups != 1 or block.padding_mode != "zeros":
            raise UserError(f"block {block.number}: kind local has no groups and pads with zeros")
        local = LocallyConnected2d(
            inputs,
            block.channels,
            (height, width),
            kernel_size=block.kernel_size,
            stride=block.stride,
            padding=block.padding,
            dilation=block.dilation,
        )
        return local, after
    if block.padding_mode in ("reflect", "circular"):
        largest = min(height, width) - (block.padding_mode == "reflect")
        if block.padding > largest:
            raise UserError(
                f"block {block.number}: {block.padding_mode} padding of {block.padding} "
                f"on {height} x {width} maps; at most {largest}"
            )
    convolution = nn.Conv2d(
        inputs,
        block.channels,
        block.kernel_size,
        stride=block.stride,
        padding=block.padding,
        dilation=block.dilation,
        groups=groups,
        padding_mode=block.padding_mode,
        # Batch normalization subtracts a bias again.
        bias=not block.batch_norm,
    )
    return convolution, after


def _slide(
    block: Block, shape: tuple[int, int, int], key: str, reach: int, stride: int, padding: int
) -> tuple[int, int, int]:
    """(C, H, W) after a window of `reach` pixels moved over the padded maps by `stride`."""
    _, height, width = shape
    if reach > min(height, width) + 2 * padding:
        raise UserError(
            f"block {block.number}: {key} reaches over {reach} pixels, but its maps are "
            f"{height} x {width} (padding {padding}); use fewer blocks, less pooling or stride, "
            f"a smaller {key}, or larger pictures (dataset.size)"
        )
    after = [(size + 2 * padding - reach) // stride + 1 for size in (height, width)]
    return block.channels, after[0], after[1]
