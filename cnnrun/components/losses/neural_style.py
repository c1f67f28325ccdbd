"""The loss of style transfer: content by features, style by their Gram matrices."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.components.losses.judges import JUDGES, OpenJudge
from cnnrun.components.losses.vgg_features import VGGS, Pooling, vgg_features
from cnnrun.data.images.one_image import read_image, resized, scaled_size
from cnnrun.data.normalize import Normalize
from cnnrun.errors import UserError
from cnnrun.registry import Named, Options, losses
from cnnrun.runtime import console

Weight = Annotated[float, Field(ge=0)]
Layers = Annotated[dict[str, Weight], Field(min_length=1)]

_STYLE_LAYERS = {f"relu{block}_1": 1.0 for block in range(1, 6)}


class Style(Options):
    """One style image."""

    file: str
    """Image of the style: a path, or `sample:flower.jpg`."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of this style, relative to the others."""
    mask: str | None = None
    """Image of where this style goes (white) or not (black), stretched over the content."""


class Targets(NamedTuple):
    """The targets for an image of one size.

    content: features by layer. grams: for each style, Gram matrices (C, C) by layer. guides: for
    each style its mask (1, 1, h, w) in 0..1, or None for everywhere.
    """

    content: dict[str, Tensor]
    grams: list[dict[str, Tensor]]
    guides: list[Tensor | None]


@losses.register("neural_style")
class NeuralStyle(nn.Module):
    """Content and style losses in a network's feature maps (Gatys, Ecker, Bethge 2016)."""

    compares = ("pixels",)

    def __init__(
        self,
        open_judge: OpenJudge | None = None,
        *,
        styles: Annotated[list[Style], Field(min_length=1)],
        network: Annotated[Named, JUDGES] = "vgg19",
        weights: str | None = None,
        normalize: Normalize = "auto",
        pooling: Pooling = "max",
        content_layers: Layers = {"relu4_2": 1.0},
        style_layers: Layers = _STYLE_LAYERS,
        content_weight: Weight = 1.0,
        style_weight: Weight = 1e5,
        smoothness: Weight = 10.0,
    ) -> None:
        """styles: Style images, each with a weight and perhaps a mask (Gatys et al. 2017).
        network: The network whose features are compared: `vgg16` or `vgg19`, any model by name or
            with its parameters, e.g. torchvision/resnet18, or a run or checkpoint with its weights.
        weights: `imagenet` (the usual ones of torchvision and timm, and the default), the name of
            other weights of theirs, a weights file, a run directory, or `random`.
        normalize: How images are normalized for the network; `auto` is how those were that its
            weights were trained on.
        pooling: How the network halves its feature maps; `average` gives smoother images.
        content_layers: Layers whose features are compared with the content's, each with a weight:
            of vgg16 and vgg19 relu4_2 ..., of others the names that `cnnrun describe` lists.
        style_layers: Layers whose Gram matrices are compared with the styles', each with a weight.
        content_weight: Weight of the content in the loss.
        style_weight: Weight of the styles in the loss.
        smoothness: Weight of the mean squared difference between neighbouring pixels.

        Raises:
            UserError: a file that is not there or does not fit, an unknown layer.
        """
        super().__init__()
        if weights == "random":
            console.warn(
                "neural_style: the network's weights are random; the result shows that it runs, "
                "and is not a style transfer (weights: imagenet, or a file)",
            )
        self.content_layers, self.style_layers = content_layers, style_layers
        self.weights = (content_weight, style_weight, smoothness)
        layers = [*content_layers, *style_layers]
        self.features: nn.Module
        if isinstance(network, str) and network in VGGS:
            self.features = vgg_features(network, layers, pooling, weights, normalize)
        else:
            assert open_judge is not None
            average = pooling == "average"
            self.features = open_judge(network, weights, normalize, layers, average=average)
        self.styles = styles
        self.images = [read_image(style.file) for style in styles]
        self.masks = [
            read_image(style.mask, channels=1) if style.mask else None for style in styles
        ]
        for style, mask in zip(styles, self.masks, strict=True):
            if mask is not None and not mask.any():
                raise UserError(f"styles: the mask {style.mask} is black all over")
        self._targets: tuple[tuple[int, ...], Targets] | None = None

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The image (1, 3, h, w) and the content (1, 3, H, W), both in 0..1, to a loss (1,)."""
        return self.parts(outputs, targets).sum()[None]

    def parts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Content, style and smoothness, each with its weight: (3,)."""
        wanted = self._targets_of(outputs, targets)
        seen = self.features(outputs)
        content = sum(
            (
                weight * F.mse_loss(seen[layer], wanted.content[layer])
                for layer, weight in self.content_layers.items()
            ),
            outputs.new_zeros(()),
        )
        style = outputs.new_zeros(())
        for one, grams, guide in zip(self.styles, wanted.grams, wanted.guides, strict=True):
            for layer, weight in self.style_layers.items():
                difference = gram_matrix(seen[layer], guide) - grams[layer]
                style = style + one.weight * weight * difference.square().mean()
        values = torch.stack((content, style, roughness(outputs)))
        return values * values.new_tensor(self.weights)

    def check_size(self, size: tuple[int, ...]) -> None:
        """Refuse a trained image of `size` (height, width) that the network can't take.

        Raises:
            UserError: it or a style image is too small.
        """
        check: Any = self.features.check_size
        for one in {size, *(_beside(image, size) for image in self.images)}:
            check(one)

    @torch.no_grad()
    def _targets_of(self, outputs: Tensor, content: Tensor) -> Targets:
        """Features of content and styles at the size of `outputs`, computed once."""
        size = tuple(outputs.shape[2:])
        if self._targets is None or self._targets[0] != size:
            seen = self.features(resized(content[:1], *size))
            kept = {layer: seen[layer] for layer in self.content_layers}
            grams, guides = [], []
            for image, mask in zip(self.images, self.masks, strict=True):
                small = resized(image, *_beside(image, size))
                maps = self.features(small[None].to(outputs.device))
                grams.append({layer: gram_matrix(maps[layer]) for layer in self.style_layers})
                guides.append(None if mask is None else mask[None].to(outputs.device))
            self._targets = (size, Targets(kept, grams, guides))
        return self._targets[1]


def _beside(image: Tensor, size: tuple[int, ...]) -> tuple[int, int]:
    """The size of a style image (3, H, W) for a trained image of `size`: no longer than it."""
    return scaled_size(image.shape[1:], min(1.0, max(size) / max(image.shape[1:])))


def gram_matrix(maps: Tensor, guide: Tensor | None = None) -> Tensor:
    """Which features occur together: (1, C, h, w) to (C, C), a mean over the places.

    guide: (1, 1, H, W) in 0..1, the weight of each position (Gatys et al. 2017).
    """
    channels = maps.shape[1]
    flat = maps.reshape(channels, -1)
    if guide is None:
        return flat @ flat.T / (flat.shape[1] * channels)
    counts = resized(guide, *maps.shape[2:]).reshape(1, -1)
    return (flat * counts) @ flat.T / (counts.sum().clamp(min=1e-6) * channels)


def roughness(images: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels of (N, C, H, W): ()."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    count = max(down.numel() + right.numel(), 1)
    return (down.square().sum() + right.square().sum()) / count
