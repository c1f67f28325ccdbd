"""Plots of a trained model: its filters, its feature maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.hooks import layer_named, visiting
from cnnrun.plots.drawing.filters import MOST_FILTERS, MOST_MAPS, draw_features, draw_filters
from cnnrun.plots.drawing.histograms import thinned
from cnnrun.plots.of_data import Index
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots
from cnnrun.runtime.weights import some

MOST_LAYERS = 8
"""Deep networks would make a plot of metres: these are some layers, or a page of them."""


@plots.register("filters")
def filters(target: Target, *, layer: str | None = None) -> Figure:
    """The kernels of a convolution, by default the first one.

    layer: Name of the convolution (`cnnrun describe` shows them).
    """
    convolutions = _convolutions(target.model, target.path, "filters")
    name = layer or next(iter(convolutions))
    module = layer_named(target.model, name)
    if not isinstance(module, nn.Conv2d):
        raise UserError(
            f"layer: '{name}' is not a convolution; the convolutions are {some(convolutions)}"
        )
    weight = module.weight.detach().cpu().numpy()
    return draw_filters(weight, f"{name}: {weight.shape[0]} filters")


@plots.register("features")
def features(
    target: Target,
    *,
    index: Index = 0,
    layer: str | None = None,
    page: Annotated[int, Field(ge=1)] | None = None,
) -> Figure:
    """The feature maps of each convolution, or of one layer, for one test image.

    index: Which test image, from 0 on.
    layer: Name of a layer to draw alone (`cnnrun describe` shows them).
    page: Of networks with more than eight convolutions, which eight to draw; by default eight from
        the first to the last.
    """
    data, parts = target.split("test"), target.parts
    if index >= len(data):
        raise UserError(f"index {index}: the test split has images 0 to {len(data) - 1}")
    image = data.images[torch.tensor([index])]
    images = parts.pipeline.normalize(image.to(parts.device))
    if layer:
        layers, most = {layer: layer_named(parts.model, layer)}, MOST_FILTERS
        of_all = ""
    else:
        layers = _convolutions(parts.model, target.path, "feature maps")
        used, most = outputs_of(parts.model, layers, images), MOST_MAPS
        layers = {name: layers[name] for name in used}  # training alone may have a use for others
        names, of_all = _some_layers(list(layers), page)
        layers = {name: layers[name] for name in names}
    answers = outputs_of(parts.model, layers, images)
    if layer and not answers:
        raise UserError(f"layer: the model does not use '{layer}' when it predicts; name another")
    if any(answer.dim() != 4 for answer in answers.values()):
        raise UserError(f"layer: '{layer}' gives no feature maps; name a convolution, say")
    [caption] = data.targets.take(torch.tensor([index])).captions(target.classes)
    maps = [(name, answer[0].float().cpu().numpy()) for name, answer in answers.items()]
    return draw_features(
        maps,
        as_floats(image)[0],
        f"test image {index}: {caption}{of_all}",
        most=most,
    )


def _some_layers(names: Sequence[str], page: int | None) -> tuple[list[str], str]:
    """Names of layers that a plot has room for, and how to see the others."""
    pages = math.ceil(len(names) / MOST_LAYERS)
    if page is not None:
        if page > pages:
            raise UserError(f"page {page}: there are {pages} pages; choose one from 1 to {pages}")
        start = MOST_LAYERS * (page - 1)
        return list(names[start : start + MOST_LAYERS]), f", page {page} of {pages}"
    some = [names[k] for k in thinned(len(names), MOST_LAYERS)]
    more = f", {len(some)} of {len(names)} convolutions (all: -p page=1 to {pages})"
    return some, more if pages > 1 else ""


def _convolutions(model: nn.Module, path: Path, what: str) -> dict[str, nn.Module]:
    """The model's convolutions by name, in order."""
    layers = model.named_modules()
    found: dict[str, nn.Module] = {n: m for n, m in layers if isinstance(m, nn.Conv2d)}
    if not found:
        raise UserError(f"{path}: the model has no convolution, so no {what} to draw")
    return found


@torch.no_grad()
def outputs_of(
    model: nn.Module, layers: Mapping[str, nn.Module], images: Tensor
) -> dict[str, Tensor]:
    """What each of `layers` gives while `model` looks at `images` (N, C, H, W), in their order.

    A layer that the model does not use when it predicts, such as an auxiliary head's, is left out.
    """
    caught: dict[str, Tensor] = {}

    def catch(name: str, _layer: nn.Module, _inputs: object, output: Tensor) -> None:
        caught[name] = output.detach()

    model.eval()
    with visiting(layers.items(), catch):
        model(images)
    return {name: caught[name] for name in layers if name in caught}
