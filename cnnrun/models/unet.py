"""U-Net on the feature maps of any network (Ronneberger, Fischer, Brox 2015)."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.feature_stages import Stages
from cnnrun.models.named_network import named_network
from cnnrun.registry import Named, Nested, models

Shape = tuple[int, int, int]
Widths = list[Annotated[int, Field(ge=1)]]

_ENCODERS = Nested(
    models,
    refused={
        name: f"'{name}' can't be used here; name a model such as cnn" for name in ("unet", "image")
    },
    without=("weights",),
)

# Least number of channels in a step of the decoder.
_LEAST = 16


@models.register("unet")
class Unet(nn.Module):
    """U-Net (Ronneberger et al. 2015): a class for each pixel, with any network as encoder."""

    # The encoder may have linear layers of its own, as ConvNeXt and squeeze-and-excitation have.
    head_layer = "head"
    gives_masks = True

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        encoder: Annotated[Named, _ENCODERS] = "cnn",
        weights: str | None = None,
        decoder: Widths | None = None,
        batch_norm: bool = True,
    ) -> None:
        """encoder: A model by name, or with its parameters, e.g.
            {name: cnn, channels: [16, 32, 64]}.

        It is cut after its last feature maps; the last maps of each size go to the decoder, which
        upsamples the smallest, concatenates the next larger, and convolves twice.

        weights: Pretrained weights of a torchvision/... or timm/... encoder, such as DEFAULT.
        decoder: Channels of its steps, from the smallest maps on; by default those of the maps
            that are joined, at least 16.
        batch_norm: Batch normalization in the decoder.

        Raises:
            UserError: the encoder gives no feature maps of two sizes or more.
        """
        super().__init__()
        network, name = named_network(
            "encoder", encoder, weights, input_shape, num_classes, _ENCODERS
        )
        if hasattr(network, "decode"):
            raise UserError(f"encoder: {name} is an autoencoder; name a network such as cnn")
        self.encoder = Stages(network, torch.zeros(1, *input_shape), name)
        self.trained_normalization = getattr(network, "trained_normalization", None)
        *larger, deepest = self.encoder.channels
        widths = decoder or [max(_LEAST, channels) for channels in reversed(larger)]
        if len(widths) != len(larger):
            raise UserError(
                f"decoder: {len(widths)} widths, but {name} gives maps of {len(larger) + 1} sizes: "
                f"{len(larger)} steps"
            )
        steps = []
        for channels, width in zip(reversed(larger), widths, strict=True):
            steps.append(_Step(deepest + channels, width, batch_norm))
            deepest = width
        self.decoder = nn.ModuleList(steps)
        self.head = nn.Conv2d(deepest, num_classes, kernel_size=1)

    @property
    def encoder_network(self) -> nn.Module:
        """What is left of the encoder's network, its layers named as in the whole one."""
        return self.encoder.network

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K, H, W)."""
        *larger, maps = self.encoder(images)
        for step, joined in zip(self.decoder, reversed(larger), strict=True):
            maps = step(maps, joined)
        logits: Tensor = self.head(maps)
        if logits.shape[2:] != images.shape[2:]:
            logits = F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)
        return logits


class _Step(nn.Module):
    """Enlarges maps to those that are joined, and convolves both twice."""

    def __init__(self, inputs: int, outputs: int, batch_norm: bool) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, batch_norm)
        self.second = _convolution(outputs, outputs, batch_norm)

    def forward(self, maps: Tensor, joined: Tensor) -> Tensor:
        maps = F.interpolate(maps, joined.shape[2:], mode="nearest")
        both: Tensor = self.second(self.first(torch.cat((maps, joined), 1)))
        return both


def _convolution(inputs: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm)
    return nn.Sequential(convolution, *norm, nn.ReLU())
