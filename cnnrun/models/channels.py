"""Adapts networks for colour images to other numbers of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def adapt_channels(model: nn.Module, channels: int, *, pretrained: bool) -> None:
    """Replace the first convolution by one with `channels` input channels."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    model.set_submodule(name, with_channels(first, channels, pretrained=pretrained))
    if getattr(model, "transform_input", False):
        # It transforms red, green and blue separately.
        model.transform_input = False  # type: ignore[assignment]


def with_channels(first: nn.Conv2d, channels: int, *, pretrained: bool) -> nn.Conv2d:
    """`first`, a convolution of colour images, for images of `channels` channels.

    Pretrained kernels are summed for gray: the output is that for the gray image in RGB. For more
    channels they repeat, scaled so that the output keeps its magnitude. Untrained kernels are drawn
    again, so that the output's variance stays as the network's author chose it.
    """
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        dilation=first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
        device=first.weight.device,
    )
    old, inputs = first.weight.data, first.in_channels
    if not pretrained:
        spread = old.std() * (inputs / channels) ** 0.5
        new.weight.data = torch.randn_like(new.weight) * spread
    elif channels == 1:
        # Loaded like any pretrained weights, so that no initializer overwrites them.
        new.load_state_dict({"weight": old.sum(1, keepdim=True)}, strict=False)
    else:
        chosen = torch.arange(channels, device=old.device) % inputs
        kernels = old[:, chosen] * (inputs / channels)
        new.load_state_dict({"weight": kernels}, strict=False)
    new.bias = first.bias
    return new


def note_normalization(
    model: nn.Module, mean: Sequence[float], std: Sequence[float], channels: int
) -> None:
    """Record in `model` how the images that its weights were trained on were normalized.

    mean, std: of each channel there, in units of 0..1. Gray images take the average of theirs, and
    with more channels they repeat, as the kernels of the first layer do (`with_channels`).
    """

    def adapted(numbers: Sequence[float]) -> list[float]:
        if channels == 1:
            return [sum(numbers) / len(numbers)]
        return [numbers[i % len(numbers)] for i in range(channels)]

    model.trained_normalization = (adapted(mean), adapted(std))  # type: ignore[assignment]
