"""Pictures of a trained model: what it confuses, its filters, its feature maps."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.metrics import confusion_matrix, softmax
from cnnrun.plots.confusion import draw_confusion
from cnnrun.plots.filters import draw_features, draw_filters
from cnnrun.plots.images import draw_mistakes
from cnnrun.plots.of_data import Index
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_pictures
from cnnrun.registry import plots


@plots.register("confusion")
def confusion(target: Target) -> Figure:
    """How many test images of each true class were taken for each class."""
    predictions = target.predictions()
    predicted = predictions.outputs.argmax(1)
    matrix = confusion_matrix(predictions.labels, predicted, len(target.classes))
    return draw_confusion(matrix, list(target.classes))


@plots.register("mistakes")
def mistakes(target: Target, *, count: Annotated[int, Field(ge=1, le=100)] = 20) -> Figure:
    """The test images that were told wrongly with the most confidence."""
    predictions = target.predictions()
    probabilities = softmax(predictions.outputs)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    total = len(wrong)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    images = target.split("test").images[torch.from_numpy(wrong)]
    names = target.classes
    return draw_mistakes(
        as_pictures(images),
        [names[k] for k in predictions.labels[wrong]],
        [names[k] for k in predicted[wrong]],
        confidence[wrong].tolist(),
        f"{len(wrong)} of {total:,} mistakes on {len(predicted):,} test images",
    )


@plots.register("filters")
def filters(target: Target) -> Figure:
    """The kernels of the first convolution: what the network looks for in the picture itself."""
    for name, module in target.parts.model.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().cpu().numpy()
            return draw_filters(weight, f"{name}: {weight.shape[0]} filters")
    raise UserError(f"{target.path}: the model has no convolution, so no filters to draw")


@plots.register("features")
def features(target: Target, *, index: Index = 0) -> Figure:
    """What each convolution answers to one test picture."""
    data, parts = target.split("test"), target.parts
    if index >= len(data):
        raise UserError(f"index {index}: the test split has images 0 to {len(data) - 1}")
    picture = data.images[torch.tensor([index])]
    images = parts.pipeline.normalize(picture.to(parts.device))
    layers = [(n, m) for n, m in parts.model.named_modules() if isinstance(m, nn.Conv2d)]
    if not layers:
        raise UserError(f"{target.path}: the model has no convolution, so no feature maps to draw")
    answers = outputs_of(parts.model, [module for _, module in layers], images)
    maps = [
        (name, answer[0].float().cpu().numpy())
        for (name, _), answer in zip(layers, answers, strict=True)
    ]
    return draw_features(
        maps,
        as_pictures(picture)[0],
        f"test image {index}: {target.classes[int(data.labels[index])]}",
    )


@torch.no_grad()
def outputs_of(model: nn.Module, modules: list[nn.Module], images: Tensor) -> list[Tensor]:
    """What each of `modules` gives while `model` looks at `images` (N, C, H, W)."""
    caught: dict[int, Tensor] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, i=i: caught.__setitem__(i, output.detach())
        )
        for i, module in enumerate(modules)
    ]
    model.eval()
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [caught[i] for i in range(len(modules)) if i in caught]
