"""U-Net on the feature maps of any network (Ronneberger, Fischer, Brox 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.feature_stages import Stages
from cnnrun.registry import as_mapping, models

Shape = tuple[int, int, int]
Widths = list[Annotated[int, Field(ge=1)]]

# Channels that a step of the decoder has at least.
_LEAST = 16


@models.register("unet")
class Unet(nn.Module):
    """U-Net (Ronneberger et al. 2015): a class for each pixel, with any network as encoder."""

    # The encoder may have linear layers of its own, as ConvNeXt and squeeze-and-excitation have.
    head_layer = "head"

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        encoder: str | dict[str, Any] = "cnn",
        weights: str | None = None,
        decoder: Widths | None = None,
        batch_norm: bool = True,
    ) -> None:
        """encoder: A model by name, or with its parameters, e.g.
            {name: cnn, channels: [16, 32, 64]}.

        It is cut after its last feature maps; the last maps of each size go to the decoder, which
        enlarges the smallest, joins the next larger, and convolves twice.

        weights: Pretrained weights of a torchvision/... or timm/... encoder, such as DEFAULT.
        decoder: Channels of its steps, from the smallest maps on; by default those of the maps
            that are joined, at least 16.
        batch_norm: Batch normalization in the decoder.

        Raises:
            UserError: the encoder gives no feature maps of two sizes or more.
        """
        super().__init__()
        network, name = _encoder(input_shape, num_classes, encoder, weights)
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


def _encoder(
    input_shape: Shape, num_classes: int, wanted: str | dict[str, Any], weights: str | None
) -> tuple[nn.Module, str]:
    """The network that is named, and its name."""
    values = as_mapping(wanted)
    name = values.get("name")
    if not isinstance(name, str) or name in ("unet", "image"):
        raise UserError(f"encoder: {name!r} is no network for it; name a model such as cnn")
    schema = models.get(name).schema()
    if "weights" in values:
        raise UserError("encoder: its trained weights are named by model.weights")
    if weights is not None:
        if "weights" not in schema.model_fields:
            raise UserError("weights: only torchvision/... and timm/... encoders have them")
        values = {**values, "weights": weights}
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        raise UserError(f"encoder: {_first_problem(error.errors())}") from None
    network = models.build(config, input_shape=input_shape, num_classes=num_classes)
    if hasattr(network, "decode"):
        raise UserError(f"encoder: {name} is an autoencoder; name a network such as cnn")
    return network, name


def _first_problem(problems: Sequence[Any]) -> str:
    where = ".".join(map(str, problems[0]["loc"]))
    return f"{where}: {problems[0]['msg'].lower()}"
