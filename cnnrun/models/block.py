"""One block of a convolutional network: convolutions, then pooling; refused where it can't fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from cnnrun.errors import UserError
from cnnrun.models.activations import Activation, activation_layer, activation_name
from cnnrun.models.locally_connected import LocallyConnected2d, PaddingMode

Positive = Annotated[int, Field(ge=1)]
Kind = Literal["conv", "local"]
Padding = Literal["same", "valid"] | Annotated[int, Field(ge=0, le=10_000)]
Groups = Literal["depthwise"] | Positive
Pooling = Literal["max", "average", "none"]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Block:
    """The settings of the block that is the `number`-th, counted from 1."""

    number: int
    channels: int
    kind: Kind
    kernel_size: int
    stride: int
    padding: Padding
    padding_mode: PaddingMode
    dilation: int
    groups: Groups
    pooling: Pooling
    pool_size: int
    pool_stride: int
    convolutions_per_block: int
    activation: Activation
    batch_norm: bool
    spatial_dropout: float

    def layers(self, shape: Shape) -> tuple[nn.Sequential, Shape]:
        """The block's layers for feature maps of `shape` (C, H, W), and the shape of their output.

        Raises:
            UserError: a kernel or pool is larger than the maps, or they can't be padded or grouped.
        """
        layers = nn.Sequential()
        for i in range(self.convolutions_per_block):
            suffix = "" if self.convolutions_per_block == 1 else str(i + 1)
            # The first convolution takes the block's stride; the others keep the size.
            convolution, shape = self._convolution(shape, self.stride if i == 0 else 1)
            layers.add_module(f"{self.kind}{suffix}", convolution)
            if self.batch_norm:
                layers.add_module(f"norm{suffix}", nn.BatchNorm2d(self.channels))
            name = f"{activation_name(self.activation)}{suffix}"
            layers.add_module(name, activation_layer(self.activation))
        if self.pooling != "none":
            shape = self._slide(shape, "pool_size", self.pool_size, self.pool_stride, padding=0)
            pool = nn.MaxPool2d if self.pooling == "max" else nn.AvgPool2d
            layers.add_module("pool", pool(self.pool_size, self.pool_stride))
        if self.spatial_dropout:
            layers.add_module("dropout", nn.Dropout2d(self.spatial_dropout))
        return layers, shape

    def _convolution(self, shape: Shape, stride: int) -> tuple[nn.Module, Shape]:
        inputs, height, width = shape
        padding = self._pixels_on_each_side()
        self._check_padding(padding, height, width)
        reach = self.dilation * (self.kernel_size - 1) + 1
        after = self._slide(shape, "kernel_size", reach, stride, padding)
        if self.kind == "local":
            if self.groups != 1:
                raise self._error("kind local has no groups; leave groups at 1")
            local = LocallyConnected2d(
                inputs,
                self.channels,
                (height, width),
                kernel_size=self.kernel_size,
                stride=stride,
                padding=padding,
                padding_mode=self.padding_mode,
                dilation=self.dilation,
            )
            return local, after
        convolution = nn.Conv2d(
            inputs,
            self.channels,
            self.kernel_size,
            stride=stride,
            padding=padding,
            dilation=self.dilation,
            groups=self._group_count(inputs),
            padding_mode=self.padding_mode,
            # Batch normalization subtracts a bias again (but not one that differs by position).
            bias=not self.batch_norm,
        )
        return convolution, after

    def _pixels_on_each_side(self) -> int:
        """`same` with a stride leaves ceil(size / stride), as ResNets pad."""
        if self.padding == "valid":
            return 0
        if self.padding != "same":
            return self.padding
        if self.dilation * (self.kernel_size - 1) % 2:
            raise self._error(
                f"padding same: a kernel of {self.kernel_size} (dilation {self.dilation}) has no "
                "middle to pad evenly around; use an odd kernel_size, or padding by number"
            )
        return self.dilation * (self.kernel_size - 1) // 2

    def _check_padding(self, padding: int, height: int, width: int) -> None:
        """Reflection padding must be smaller than the maps; circular padding may be as large."""
        largest = min(height, width) - (self.padding_mode == "reflect")
        if self.padding_mode in ("reflect", "circular") and padding > largest:
            raise self._error(
                f"{self.padding_mode} padding of {padding} on {height} x {width} maps, where at "
                f"most {largest} is possible; use padding_mode zeros or replicate, or less padding"
            )

    def _group_count(self, inputs: int) -> int:
        groups = inputs if self.groups == "depthwise" else self.groups
        if inputs % groups or self.channels % groups:
            raise self._error(
                f"{inputs} channels in and {self.channels} out can't be divided into {groups} "
                f"groups; use numbers of channels that are multiples of {groups}, or other groups"
            )
        return groups

    def _slide(self, shape: Shape, key: str, reach: int, stride: int, padding: int) -> Shape:
        """(C, H, W) after a window of `reach` pixels slides over the padded maps by `stride`."""
        _, height, width = shape
        if reach > min(height, width) + 2 * padding:
            raise self._error(
                f"{key} reaches over {reach} pixels, but its maps are {height} x {width} (padding "
                f"{padding}); use fewer blocks, less pooling or stride, a smaller {key}, or larger "
                "images (dataset.size)"
            )
        after = [(size + 2 * padding - reach) // stride + 1 for size in (height, width)]
        return self.channels, after[0], after[1]

    def _error(self, message: str) -> UserError:
        return UserError(f"block {self.number}: {message}")
