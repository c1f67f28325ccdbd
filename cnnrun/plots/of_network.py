"""Plots of a trained network: its weights, outputs, attributions and features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from cnnrun.components.tasks.metrics import softmax
from cnnrun.data.dataset import Split
from cnnrun.engine.build_model import build_initialized_model
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation.attribution import explained_layer, grad_cam_maps, saliency_maps
from cnnrun.models.hooks import last_of, layer_named, visit_layers
from cnnrun.plots.drawing.attribution import draw_attributions
from cnnrun.plots.drawing.embedding import Method, draw_embedding, to_plane
from cnnrun.plots.drawing.histograms import LayerWeights, draw_weights
from cnnrun.plots.drawing.layer_outputs import LayerOutputs, draw_activations, summarize
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots
from cnnrun.runtime.randomness import derive_seed

ClassChoice = Literal["prediction", "label"]
"""The class that is explained: the model's, or the true one (YAML would read `true` as a bool)."""

_CLASS = {"prediction": "predicted", "label": "true"}

FewImages = Annotated[int, Field(ge=1, le=40)]

_IN_ONE_BATCH = 100
_DO_NOTHING = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity)
"""Layers that change no value when a model is used."""


@plots.register("activations")
def activations(target: Target, *, count: Annotated[int, Field(ge=1, le=1000)] = 100) -> Figure:
    """The distribution of each layer's outputs on some test images, and its dead units.

    count: Number of test images.
    """
    parts = target.parts
    images = _some_of_the_test_split(target, count).images
    random = np.random.default_rng(derive_seed(parts.experiment.seed, "activations"))
    found: list[LayerOutputs] = []

    def note(name: str, layer: nn.Module, _inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() > 1 and not isinstance(layer, _DO_NOTHING):
            values = output.float().cpu().numpy()
            found.append(summarize(name, type(layer).__name__, values, random))

    visit_layers(parts.model, parts.pipeline.normalize(images.to(parts.device)), note)
    return draw_activations(found, f"Outputs of each layer on {len(images)} test images")


@plots.register("weights")
def weights(target: Target, *, of: Literal["values", "change"] = "values") -> Figure:
    """Histograms of each layer's weights and of the initial ones, or of their change.

    of: `values` are the weights themselves, `change` is how far each moved from the start.
    """
    layers = layer_weights(target.parts)
    if not layers:
        raise UserError(f"{target.path}: the model has no weights to draw")
    what = "Weights" if of == "values" else "Change of the weights"
    return draw_weights(layers, f"{what} ({target.parts.experiment.name})", of == "change")


def layer_weights(parts: Parts) -> list[LayerWeights]:
    """The weights of each layer, now and as the experiment initializes them."""
    experiment, dataset = parts.experiment, parts.dataset
    initial, *_ = build_initialized_model(experiment, dataset.input_shape, len(dataset.classes))
    before = dict(initial.named_parameters())
    return [
        LayerWeights(name.removesuffix(".weight"), _array(parameter), _array(before[name]))
        for name, parameter in parts.model.named_parameters()
        if parameter.dim() > 1  # neither biases nor the scales of a normalization
    ]


@plots.register("saliency")
def saliency(target: Target, *, count: FewImages = 12, of: ClassChoice = "prediction") -> Figure:
    """Which pixels change the score of a class most (Simonyan et al. 2014).

    count: Number of test images.
    of: Class whose score is explained: the predicted one or the true one.
    """
    shown = _answered(target, count)
    maps = saliency_maps(target.parts.model, shown.inputs, shown.classes(of))
    return _attributions(target, shown, maps, f"Saliency of the {_CLASS[of]} class")


@plots.register("gradcam")
def gradcam(
    target: Target,
    *,
    count: FewImages = 12,
    of: ClassChoice = "prediction",
    layer: str | None = None,
) -> Figure:
    """Which regions support a class, from the last feature maps (Selvaraju et al. 2017).

    count: Number of test images.
    of: Class whose score is explained: the predicted one or the true one.
    layer: Name of another layer that gives feature maps (`cnnrun describe` shows them).
    """
    shown = _answered(target, count)
    model = target.parts.model
    name = layer or explained_layer(model, shown.inputs[:1])
    maps = grad_cam_maps(model, layer_named(model, name), shown.inputs, shown.classes(of))
    return _attributions(target, shown, maps, f"Grad-CAM of the {_CLASS[of]} class at {name}")


@plots.register("embeddings")
def embeddings(
    target: Target,
    *,
    count: Annotated[int, Field(ge=3, le=20_000)] = 1000,
    method: Method = "pca",
) -> Figure:
    """The inputs of the last layer for test images, projected by PCA or t-SNE, by class.

    `tsne` shows neighbours.

    `tsne` shows neighbours.

    count: Number of test images.
    method: `pca` is quick and states how much of the variance it shows; `tsne` shows neighbours.
    """
    parts = target.parts
    chosen = _some_of_the_test_split(target, count)
    features = penultimate_features(target, chosen.images)
    if len(features) < 3 or features.shape[1] < 2:
        raise UserError(f"{target.path}: this plot needs at least 3 test images and 2 features")
    seed = derive_seed(parts.experiment.seed, "embeddings") % 2**32
    points, axis_names = to_plane(features, method, seed)
    shown = f"{'PCA' if method == 'pca' else 't-SNE'} of {len(points):,} test images"
    title = f"{shown}, {features.shape[1]:,} features before the last layer"
    return draw_embedding(points, chosen.labels, target.classes, axis_names, title)


def penultimate_features(target: Target, images: Tensor) -> NDArray[np.float32]:
    """What the last fully connected layer is given for `images` (N, C, H, W) uint8: (N, D).

    Raises:
        UserError: the model has no such layer, or gives it NaN or infinite values.
    """
    parts = target.parts
    inputs = parts.pipeline.normalize(images.to(parts.device))
    last = last_of(parts.model, nn.Linear, inputs[:1])
    if last is None:
        raise UserError(
            f"{target.path}: the model has no fully connected layer, whose inputs this plot shows"
        )
    found: list[Tensor] = []

    def keep(name: str, _layer: nn.Module, given: tuple[Tensor, ...], _output: Tensor) -> None:
        if name == last:
            found.append(given[0].flatten(1).float().cpu())

    for start in range(0, len(inputs), _IN_ONE_BATCH):
        visit_layers(parts.model, inputs[start : start + _IN_ONE_BATCH], keep)
    features = torch.cat(found).numpy()
    if not np.isfinite(features).all():
        raise UserError(f"{target.path}: the model's features are not finite; did it diverge?")
    return features


@dataclass(frozen=True)
class _Images:
    """Test images (N, C, H, W) uint8 with their labels (N,), where their targets are labels."""

    images: Tensor
    split: Split

    @property
    def labels(self) -> NDArray[np.int64]:
        """Raises `UserError` for targets of another kind."""
        return self.split.labels.numpy()


@dataclass(frozen=True)
class _Answered(_Images):
    """... with the model's inputs (N, C, H, W) and its probabilities (N, K)."""

    inputs: Tensor
    probabilities: NDArray[np.float64]

    def classes(self, of: ClassChoice) -> Tensor:
        """The (N,) true or predicted classes, where the inputs are."""
        chosen = self.labels if of == "label" else self.probabilities.argmax(1)
        return torch.from_numpy(chosen).to(self.inputs.device)


def _some_of_the_test_split(target: Target, count: int) -> _Images:
    """At most `count` test images, drawn by the experiment's seed: files may be sorted by class."""
    data = target.split("test")
    seed = derive_seed(target.parts.experiment.seed, "viz")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    chosen = data.take(order[:count])
    return _Images(chosen.images[torch.arange(len(chosen))], chosen)


def _answered(target: Target, count: int) -> _Answered:
    parts = target.parts
    chosen = _some_of_the_test_split(target, count)
    inputs = parts.pipeline.normalize(chosen.images.to(parts.device))
    target.check_classifies()
    parts.model.eval()
    with torch.no_grad():
        outputs = parts.model(inputs)
    probabilities = softmax(outputs.float().cpu().numpy())
    return _Answered(chosen.images, chosen.split, inputs, probabilities)


def _attributions(target: Target, shown: _Answered, maps: Tensor, title: str) -> Figure:
    predicted = shown.probabilities.argmax(1)
    return draw_attributions(
        as_floats(shown.images),
        maps.float().cpu().numpy(),
        [target.classes[k] for k in shown.labels],
        [target.classes[k] for k in predicted],
        shown.probabilities.max(1).tolist(),
        title,
    )


def _array(parameter: Tensor) -> NDArray[np.float32]:
    return parameter.detach().float().cpu().numpy()
