"""Local connections without shared weights: what lies between an MLP and a convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocallyConnected2d(nn.Module):
    """A kernel's sparse local connections with weights of their own at each position.

    weight: (P, O, I * kh * kw), P = output height x width: one kernel matrix a position.
    bias: (P, O).

    It equals `nn.Conv2d` where all positions have the same weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: tuple[int, int],
        *,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        """input_size: (H, W) of the maps that come in; it fixes the number of positions.

        Raises:
            ValueError: the kernel is larger than the padded maps.
        """
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = (kernel_size, kernel_size), (stride, stride)
        self.padding, self.dilation = (padding, padding), (dilation, dilation)
        reach = dilation * (kernel_size - 1) + 1
        height, width = ((size + 2 * padding - reach) // stride + 1 for size in input_size)
        if height < 1 or width < 1:
            raise ValueError(f"kernel {kernel_size} is larger than the {input_size} maps")
        self.output_size = height, width
        fan_in = in_channels * kernel_size * kernel_size
        self.weight = nn.Parameter(torch.empty(height * width, out_channels, fan_in))
        self.bias = nn.Parameter(torch.empty(height * width, out_channels)) if bias else None
        # Each position begins as nn.Conv2d would.
        bound = 1 / math.sqrt(fan_in)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, images: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H', W')."""
        patches = F.unfold(
            images.contiguous(), self.kernel_size, self.dilation, self.padding, self.stride
        )
        # One matrix product a position: (P, N, I*kh*kw) x (P, I*kh*kw, O).
        outputs = torch.bmm(patches.permute(2, 0, 1), self.weight.transpose(1, 2))
        if self.bias is not None:
            outputs = outputs + self.bias[:, None]
        return outputs.permute(1, 2, 0).reshape(len(images), self.out_channels, *self.output_size)

    def kernels(self) -> Tensor:
        """Views of the kernels as `nn.Conv2d` lays them out: (P, O, I, kh, kw)."""
        return self.weight.view(-1, self.out_channels, self.in_channels, *self.kernel_size)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, positions={self.output_size}"
        )
