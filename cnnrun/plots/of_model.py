"""Plots of a trained model: what it confuses, its filters, its feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from cnnrun.components.tasks import Predictions
from cnnrun.components.tasks.metrics import confusion_matrix, softmax
from cnnrun.errors import UserError
from cnnrun.models.hooks import layer_named
from cnnrun.plots.drawing.confusion import draw_confusion
from cnnrun.plots.drawing.filters import MOST_FILTERS, MOST_MAPS, draw_features, draw_filters
from cnnrun.plots.drawing.histograms import thinned
from cnnrun.plots.drawing.images import draw_mistakes
from cnnrun.plots.of_data import Index
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots
from cnnrun.runtime.weights import some

MOST_LAYERS = 8
"""Deep networks would make a plot of metres; `layer` shows any other one."""


@plots.register("confusion")
def confusion(target: Target) -> Figure:
    """How many test images of each true class were taken for each class."""
    predictions = target.predictions()
    predicted = _outputs(predictions).argmax(1)
    matrix = confusion_matrix(predictions.labels, predicted, len(target.classes))
    return draw_confusion(matrix, list(target.classes))


@plots.register("mistakes")
def mistakes(target: Target, *, count: Annotated[int, Field(ge=1, le=100)] = 20) -> Figure:
    """The misclassified test images, most confident first.

    count: Number of images.
    """
    predictions = target.predictions()
    probabilities = softmax(_outputs(predictions))
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    total = len(wrong)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    images = target.split("test").images[torch.from_numpy(wrong)]
    names = target.classes
    return draw_mistakes(
        as_floats(images),
        [names[k] for k in predictions.labels[wrong]],
        [names[k] for k in predicted[wrong]],
        confidence[wrong].tolist(),
        f"{len(wrong)} of {total:,} mistakes on {len(predicted):,} test images",
    )


def _outputs(predictions: Predictions) -> NDArray[np.float32]:
    """The logits (N, K).

    Raises:
        UserError: the model does not classify.
    """
    if "outputs" not in predictions.answers:
        raise UserError("this plot needs a classifier")
    return predictions.answers["outputs"]


@plots.register("filters")
def filters(target: Target, *, layer: str | None = None) -> Figure:
    """The kernels of a convolution, by default the first: what it looks for in its input.

    layer: Name of the convolution (`cnnrun describe` shows them).
    """
    convolutions = _convolutions(target.model, target.path, "filters")
    name = layer or next(iter(convolutions))
    module = layer_named(target.model, name)
    if not isinstance(module, nn.Conv2d):
        raise UserError(f"layer: '{name}' is no convolution; there are {some(convolutions)}")
    weight = module.weight.detach().cpu().numpy()
    return draw_filters(weight, f"{name}: {weight.shape[0]} filters")


@plots.register("features")
def features(target: Target, *, index: Index = 0, layer: str | None = None) -> Figure:
    """What each convolution, or one layer alone, answers to one test image.

    index: Which test image, from 0 on.
    layer: Name of a layer to draw alone (`cnnrun describe` shows them).
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
        names = [list(layers)[k] for k in thinned(len(layers), MOST_LAYERS)]
        of_all = f", {len(names)} of {len(layers)} convolutions" * (len(names) < len(layers))
        layers = {name: layers[name] for name in names}
    answers = outputs_of(parts.model, layers, images)
    if layer and not answers:
        raise UserError(f"layer: the model does not use '{layer}' when it predicts; name another")
    if any(answer.dim() != 4 for answer in answers.values()):
        raise UserError(f"layer: '{layer}' gives no feature maps; name a convolution, say")
    maps = [(name, answer[0].float().cpu().numpy()) for name, answer in answers.items()]
    return draw_features(
        maps,
        as_floats(image)[0],
        f"test image {index}: {target.classes[int(data.labels[index])]}{of_all}",
        most=most,
    )


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
    hooks = [
        layer.register_forward_hook(
            lambda _module, _inputs, output, name=name: caught.__setitem__(name, output.detach())
        )
        for name, layer in layers.items()
    ]
    model.eval()
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: caught[name] for name in layers if name in caught}
