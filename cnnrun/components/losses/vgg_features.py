"""The feature maps of a VGG's layers, up to the deepest one that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from cnnrun.data.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize, without_images
from cnnrun.errors import NetworkError, UserError, did_you_mean_or_sizes
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.weights import read_weights

Pooling = Literal["max", "average"]

# Convolutions in each of the five blocks, and their channels (Simonyan & Zisserman 2015).
_BLOCKS: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
VGGS = tuple(_BLOCKS)
_CHANNELS = (64, 128, 256, 512, 512)


class VGGFeatures(nn.Module):
    """The first layers of a VGG, frozen; layers are called `conv4_2`, `relu1_1`, `pool3` ...

    Parameters have torchvision's names (`features.0.weight`), so its weight files fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: str, layers: Iterable[str], pooling: Pooling) -> None:
        """Raises: UserError: the network has no such layer."""
        super().__init__()
        names = layer_names(network)
        self.wanted = list(dict.fromkeys(layers))
        for name in self.wanted:
            if name not in names:
                raise UserError(
                    f"{network} has no layer '{name}'{did_you_mean_or_sizes(name, names)}"
                )
        self.names = names[: max(names.index(name) for name in self.wanted) + 1]
        self.features = nn.Sequential()
        channels = 3
        for name in self.names:
            block = int(name[4]) - 1
            if name.startswith("conv"):
                self.features.append(nn.Conv2d(channels, _CHANNELS[block], 3, padding=1))
                channels = _CHANNELS[block]
            elif name.startswith("relu"):
                self.features.append(nn.ReLU())
            else:
                # An image that is one pixel high stays so.
                kind = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
                self.features.append(kind(2, ceil_mode=True))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) in 0..1 to the feature maps (N, C, h, w) of each requested layer."""
        found = {}
        maps = (images - self.mean) / self.std
        for name, layer in zip(self.names, self.features, strict=True):
            maps = layer(maps)
            if name in self.wanted:
                found[name] = maps
        return found

    def check_size(self, size: tuple[int, ...]) -> None:
        """It takes images of any size, which is all that another judge may refuse."""


def vgg_features(
    network: str, layers: Iterable[str], pooling: Pooling, weights: str | None, config: Normalize
) -> VGGFeatures:
    """The layers with their weights, see `load_vgg`; `imagenet` unless said otherwise.

    config: how images are normalized; `auto` is as for ImageNet's weights.

    Raises:
        UserError: no such layer, or weights that can't be downloaded.
    """
    features = VGGFeatures(network, layers, pooling)
    load_vgg(features, network, weights or "imagenet")
    if config != "auto":
        mean, std = without_images(config, 3)
        features.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        features.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
    return features


def layer_names(network: str) -> list[str]:
    """All layers of the network's features, in order."""
    names = []
    for block, count in enumerate(_BLOCKS[network], 1):
        for k in range(1, count + 1):
            names += [f"conv{block}_{k}", f"relu{block}_{k}"]
        names.append(f"pool{block}")
    return names


def load_vgg(features: VGGFeatures, network: str, weights: str) -> None:
    """Fill the layers: from `imagenet` (torchvision's file), `random`, or a weights file.

    Raises:
        UserError: the file can't be downloaded or read, or does not fit.
    """
    if weights == "random":
        random = torch.Generator().manual_seed(0)
        for module in features.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=random)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        return
    found = _imagenet(network) if weights == "imagenet" else read_weights(expanded(weights))
    own = features.features.state_dict()
    missing = [f"features.{key}" for key in own if f"features.{key}" not in found]
    if missing:
        raise UserError(
            f"weights: {weights} is not torchvision's {network}: it has no {missing[0]}"
        )
    try:
        features.features.load_state_dict({key: found[f"features.{key}"] for key in own})
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip() or str(error)
        raise UserError(f"weights: {weights} does not fit {network}: {reason}") from error


def _imagenet(network: str) -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights, VGG19_Weights

    weights = (VGG16_Weights if network == "vgg16" else VGG19_Weights).IMAGENET1K_V1
    try:
        found: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        return found
    except (OSError, RuntimeError) as error:
        raise NetworkError(
            f"weights: imagenet: the file of {network} could not be downloaded ({error}); fetch "
            f"{weights.url} where there is a network and name it as `weights: FILE`, or try it out "
            "with `weights: random`"
        ) from error
