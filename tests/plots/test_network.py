"""Plots of what a network has learnt: weights, outputs, attribution, features on a plane."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from sklearn.decomposition import PCA
from torch import Tensor, nn

from cnnrun import runner
from cnnrun.config.experiment import from_dict, load
from cnnrun.engine.build import build
from cnnrun.engine.build_model import build_initialized_model
from cnnrun.errors import UserError
from cnnrun.evaluation.attribution import explained_layer, grad_cam_maps, saliency_maps
from cnnrun.plots import of_model, of_network
from cnnrun.plots.drawing.attribution import draw_attributions, overlay
from cnnrun.plots.drawing.embedding import draw_embedding, to_plane
from cnnrun.plots.drawing.histograms import LayerWeights, draw_weights, thinned
from cnnrun.plots.drawing.layer_outputs import LayerOutputs, draw_activations, summarize
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Opened, Target
from cnnrun.registry import plots
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import Command
from tests.plot_reading import GRAY, ODD_NAMES, RGB, assert_readable, drawn_texts, images_of, words

RANDOM = np.random.default_rng(0)


class Small(nn.Module):
    """Two convolutions, the first followed by a ReLU that works in place."""

    def __init__(self, channels: int = 1, inplace: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3)
        self.relu = nn.ReLU(inplace)
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.after = nn.ReLU(inplace)
        self.head = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.after(self.second(self.relu(self.first(images))))
        answer: Tensor = self.head(maps.mean((2, 3)))
        return answer


def small(channels: int = 1, inplace: bool = True) -> Small:
    torch.manual_seed(0)
    return Small(channels, inplace).eval()


def train(folder: Path, *overrides: str) -> Path:
    """The directory of a run of a CNN on digits, one epoch long."""
    config = folder / "small.yaml"
    config.write_text(
        "dataset: {name: digits, batch_size: 64}\n"
        "model: {name: cnn, channels: [6, 8], head: [16]}\n"
        "initializer: {name: normal, std: 0.05}\n"
        "optimizer: {name: sgd, lr: 0.1, momentum: 0.9}\n"
        "device: cpu\n"
        "seed: 3\n"
        "training: {epochs: 1, draw: false}\n"
    )
    return runner.train(load(config, [f"output={folder}", *overrides]), quiet=True).path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return Target(train(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def mlp() -> Target:
    """Not trained, and without convolutions."""
    experiment = {"dataset": "digits", "model": "mlp", "optimizer": "sgd", "device": "cpu"}
    experiment |= {"name": "mlp", "training": {"epochs": 1, "draw": False}}
    return Target(Path("mlp.yaml"), opened=Opened(build(from_dict(experiment, "mlp")), False))


PLOTS = ("activations", "weights", "saliency", "gradcam", "embeddings")


def figure_of(name: str, target: Target, **parameters: object) -> Figure:
    figure: Figure = getattr(of_network, name)(target, **parameters)
    assert_readable(figure)
    return figure


@pytest.mark.slow
def test_every_plot_of_a_run(trained: Target) -> None:
    assert "features.0.conv (Conv2d)" in words(figure_of("activations", trained))
    assert "Weights (small)" in words(figure_of("weights", trained))
    saliency = words(figure_of("saliency", trained, count=4, of="label"))
    assert "Saliency of the true class" in saliency
    assert sum(word.startswith("true: ") for word in saliency) == 4
    gradcam = words(figure_of("gradcam", trained, count=3))
    assert "Grad-CAM of the predicted class at features.1.relu" in gradcam
    earlier = words(figure_of("gradcam", trained, count=3, layer="features.0.relu"))
    assert "Grad-CAM of the predicted class at features.0.relu" in earlier
    assert {*"0123456789"} <= set(words(figure_of("embeddings", trained, count=90)))


def test_plots_by_the_command(cnnrun: Command, trained: Target) -> None:
    assert set(PLOTS) <= set(plots.names())
    parameters = ("-p", "count=5", "-p", "layer=features.0.pool", "-p", "of=label")
    assert cnnrun("viz", "gradcam", trained.path, *parameters, "-o", "x.png").code == 0
    ended = cnnrun("viz", "gradcam", trained.path, "-p", "layer=features.1.covn")
    assert ended.code == 1
    assert "did you mean 'features.1.conv'?" in ended.err


def test_one_layer_by_name(trained: Target) -> None:
    one = words(of_model.features(trained, layer="features.1.pool"))
    assert [word.split(":")[0] for word in one[:2]] == ["test image 0", "features.1.pool"]
    kernels = words(of_model.filters(trained, layer="features.1.conv"))
    assert "features.1.conv: 8 filters, mean over 6 input channels" in kernels
    for draw, layer, wanted in (
        (of_model.features, "features.1.poll", "'features.1.poll'; did you mean 'features.1.pool'"),
        (of_model.filters, "zzz", "the model has no layer 'zzz'; it has features, "),
        (of_model.filters, "head.1", "'head.1' is not a convolution; the convolutions are feat"),
        (of_model.features, "head.1", "layer: 'head.1' gives no feature maps"),
        (of_network.gradcam, "head.1", "layer: Grad-CAM needs one that gives feature maps"),
    ):
        with pytest.raises(UserError) as raised:
            draw(trained, layer=layer)
        assert wanted in str(raised.value)


@pytest.mark.slow
def test_models_without_convolutions(mlp: Target) -> None:
    for name in ("activations", "weights", "saliency", "embeddings"):
        figure_of(name, mlp)
    for draw in (of_network.gradcam, of_model.features, of_model.filters):
        with pytest.raises(UserError, match="the model has no convolution"):
            draw(mlp)


def test_initial_weights_are_those_of_the_run(tmp_path: Path) -> None:
    """Steps too small for float32 leave the checkpoint with what training began with."""
    begun = train(
        tmp_path, "model.channels=[6]", "optimizer={name: sgd, lr: 1e-30}", "seed=7",
        "initializer=xavier_uniform",
    )  # fmt: skip
    epoch_0 = Checkpoint.load(begun / "checkpoints" / "best.pt").model
    model, *_ = build_initialized_model(load(begun / "config.yaml", []), (1, 8, 8), 10)
    names = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    assert names == ["features.0.conv.weight", "head.1.weight", "head.3.weight"]
    assert all(torch.equal(model.state_dict()[name], epoch_0[name]) for name in names)
    texts = words(figure_of("weights", Target(begun)))
    assert sum(text.startswith("as initialized, std") for text in texts) == 3


def test_trained_weights_differ_from_the_initial_ones(trained: Target) -> None:
    texts = words(figure_of("weights", trained))
    assert sum(", now " in text and "; moved " in text for text in texts) == 4
    assert any(text.startswith("std 0.05") for text in texts)  # as the initializer says


def test_histograms() -> None:
    initial = RANDOM.normal(0, 1, (40, 30))
    figure = draw_weights([LayerWeights("head", 2 * initial, initial)], "Weights")
    now, before = figure.axes[1].patches
    edges = now.get_data().edges
    assert now.get_data().values == pytest.approx(100 * np.histogram(2 * initial, edges)[0] / 1200)
    assert before.get_data().values == pytest.approx(100 * np.histogram(initial, edges)[0] / 1200)
    assert now.get_data().values.sum() == pytest.approx(100)


@pytest.mark.slow
def test_many_layers_are_thinned_and_odd_ones_readable() -> None:
    broken = np.array([[np.nan, 1.0], [2.0, np.inf]])
    layers = [
        LayerWeights(f"stage.{k}.a_long_name_of_a_convolution", tensor, tensor + k)
        for k, tensor in enumerate([np.zeros((3, 3)), broken, 1e-9 * np.eye(4), 1e9 * np.eye(4)])
    ] * 13
    figure = draw_weights(layers, "Weights")
    assert_readable(figure)
    assert len(figure.axes) == 1 + 16
    assert "Weights, 16 of 52 layers" in words(figure)
    assert "2 of 4 are NaN or infinite" in words(figure)
    assert thinned(52, 16)[::15] == [0, 51]
    assert thinned(3, 16) == [0, 1, 2]


def test_outputs_of_a_layer() -> None:
    values = RANDOM.normal(size=(8, 4, 5, 5)).astype(np.float32)
    values[:, 1] = 0
    values[0, 2, 0, 0] = np.nan
    summary = summarize("conv", "Conv2d", values, np.random.default_rng(0))
    finite = values[np.isfinite(values)]
    assert summary.quantiles == pytest.approx(np.quantile(finite, [0.01, 0.25, 0.5, 0.75, 0.99]))
    assert (summary.dead, summary.units) == (1, 4)
    assert summary.zeros == pytest.approx(0.25)
    assert summary.not_finite == pytest.approx(1 / 800)
    tokens = np.ones((2, 7, 3))
    tokens[..., 2] = 0
    of_tokens = summarize("block", "Linear", tokens, np.random.default_rng(0))
    assert (of_tokens.dead, of_tokens.units) == (1, 3)


def test_activations_come_in_the_order_of_depth(trained: Target) -> None:
    texts = words(figure_of("activations", trained))
    rows = [text for text in texts if text.endswith((")", "…"))]
    names = [row.split()[0] for row in rows]
    block = ["conv", "relu", "pool"]
    head = ["head.1", "head.2", "head.3"]
    assert names == [f"features.{k}.{layer}" for k in (0, 1) for layer in block] + head
    assert sum("% zero" in text for text in texts) >= 3


@pytest.mark.parametrize("scales", [[1, 1], [1e-8, 1], [1, 1e9], [1e-12, 1e-10], [0, 0]])
def test_activations_of_any_scale_are_readable(scales: list[float]) -> None:
    quantiles = np.array([-3.0, -1, 0.2, 1, 2])
    layers = [
        LayerOutputs(f"l{k}", "Conv2d", tuple(quantiles * scale), 0.5, 0, 3, 64)
        for k, scale in enumerate(scales)
    ]
    layers.append(LayerOutputs("lost", "ReLU", (np.nan,) * 5, 0, 1.0, 0, 8))
    figure = draw_activations(layers * 30, "Outputs")
    assert_readable(figure)
    texts = words(figure)
    assert f"Outputs, 32 of {30 * len(layers)} layers" in texts
    assert "50 % zero, 3 of 64 units dead" in texts
    assert "100 % NaN or infinite" in texts


def test_saliency_is_the_gradient_of_the_class() -> None:
    """Against finite differences, in float64, at every pixel of two images."""
    model, inputs = small(3).double(), torch.from_numpy(RGB[:2, :, :9, :9]).double()
    classes = torch.tensor([1, 4])
    maps = saliency_maps(model, inputs, classes)
    steps = 1e-6 * torch.eye(inputs[0].numel(), dtype=torch.float64).view(-1, *inputs.shape[1:])
    for image, k, found in zip(inputs, classes, maps, strict=True):
        with torch.no_grad():
            slopes = (model(image + steps) - model(image - steps))[:, k] / 2e-6
        wanted = slopes.view_as(image).abs().amax(0)
        assert torch.allclose(found, wanted, atol=1e-8)
    assert maps.max() > 0


@pytest.mark.parametrize("inplace", [False, True])
def test_grad_cam_equals_a_direct_computation(inplace: bool) -> None:
    model, inputs = small(inplace=inplace), torch.from_numpy(GRAY[:5])
    classes = torch.tensor([0, 1, 2, 3, 4])
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # as transfer freezes them
    found = grad_cam_maps(model, model.second, inputs, classes)

    maps = model.second(F.relu(model.first(inputs))).detach().requires_grad_()
    scores = model.head(F.relu(maps).mean((2, 3))).gather(1, classes[:, None])
    (gradient,) = torch.autograd.grad(scores.sum(), maps)
    weighted = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    wanted = F.interpolate(F.relu(weighted), (8, 8), mode="bilinear")[:, 0]
    assert wanted.max() > 0
    assert torch.allclose(found, wanted.detach(), atol=1e-6)


def zoo(name: str) -> nn.Module:
    built: nn.Module = getattr(torchvision.models, name)(weights=None)
    return built


@pytest.mark.parametrize(
    ("model", "size", "wanted"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True)), 16, "2"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.MaxPool2d(2)), 16, "1"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 16, "1"),
        (lambda: zoo("resnet18"), 64, "layer4.1"),  # its relu is called twice
        pytest.param(lambda: zoo("vgg11"), 64, "features.19", marks=pytest.mark.slow),
        (lambda: zoo("efficientnet_b0"), 64, "features.8.2"),
        (lambda: zoo("mobilenet_v3_small"), 64, "features.12.2"),
    ],
)
def test_grad_cam_reads_the_last_rectified_maps(
    model: Callable[[], nn.Module], size: int, wanted: str
) -> None:
    torch.manual_seed(0)
    assert explained_layer(model(), torch.randn(1, 3, size, size)) == wanted


@pytest.mark.slow
def test_grad_cam_refuses_tokens() -> None:
    with pytest.raises(UserError, match="after the patches of this transformer"):
        explained_layer(zoo("vit_b_16"), torch.randn(1, 3, 224, 224))


def test_grad_cam_without_captum(trained: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r"pip install 'cnnrun\[captum\]'"):
        of_network.gradcam(trained)


def test_attributions_say_what_was_answered() -> None:
    maps = RANDOM.random((5, 32, 32))
    maps[1] = 0
    names = [*ODD_NAMES[:4], "cat"]
    figure = draw_attributions(RGB, maps, names, [*names[:4], "dog"], [0.5, 1, 0, 0.25, 0.9], "Map")
    assert_readable(figure)
    assert {"true: cat", "predicted, 90 %: dog"} <= {word.strip() for word in words(figure)}
    shown = images_of(figure)
    assert len(shown) == 15
    assert np.percentile(shown[4], 80) <= 3  # a map of zeros is black ...
    assert "empty" in words(figure)  # ... and said to be so
    peak = np.unravel_index(maps[0].argmax(), (32, 32))
    factor = shown[1].shape[0] // 32
    assert (shown[1][peak[0] * factor, peak[1] * factor] > 160).sum() >= 2  # light yellow


def test_an_overlay_is_the_gray_image_where_the_map_is_zero() -> None:
    mixed = overlay(RGB[0], np.zeros((32, 32)))
    assert np.allclose(mixed, 0.7 * RGB[0].mean(0)[:, :, None])
    high = overlay(np.ones((1, 4, 4)), np.ones((4, 4)))
    assert np.ptp(high[0, 0]) > 0.2  # coloured, on white too


def test_penultimate_features_give_the_outputs(trained: Target) -> None:
    images = trained.split("test").images[torch.arange(130)]
    features = of_network.penultimate_features(trained, images)
    model = trained.parts.model
    with torch.no_grad():
        wanted = model(trained.parts.pipeline.normalize(images))
        found = model.get_submodule("head.3")(torch.from_numpy(features))
    assert features.shape == (130, 16)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_pca_states_the_variance_and_repeats() -> None:
    features = RANDOM.normal(size=(60, 7)) * [5, 3, 1, 1, 1, 1, 1]
    points, names = to_plane(features, "pca", 0)
    truth = PCA(2, svd_solver="full").fit(features)
    assert names == [
        f"component {k + 1} ({100 * share:.1f} % of the variance)"
        for k, share in enumerate(truth.explained_variance_ratio_)
    ]
    assert np.allclose(abs(points), abs(truth.transform(features)), atol=1e-8)
    once, names = to_plane(features, "tsne", 5)
    assert once.shape == (60, 2)
    assert names[0] == "t-SNE 1 (no unit)"
    assert np.array_equal(once, to_plane(features, "tsne", 5)[0])


def _embedding(classes: list[str], spread: float = 3) -> Figure:
    count = len(classes)
    labels = np.arange(20 * count) % count
    points = RANDOM.normal(0, spread, (count, 2))[labels] + RANDOM.normal(0, 0.4, (len(labels), 2))
    return draw_embedding(points, labels, classes, ["component 1", "component 2"], "PCA")


@pytest.mark.parametrize("count", [2, 10, 20])
def test_few_classes_have_a_legend(count: int) -> None:
    classes = [*ODD_NAMES, "_hidden", *(f"class {k}" for k in range(20))][-count:]
    figure = _embedding(classes)
    assert_readable(figure)
    legend = figure.axes[1].get_legend()
    assert legend is not None
    shown = [text.get_text() for text in legend.get_texts()]
    assert len(shown) == count
    assert shown[-1] == "class 19"
    looks = {
        (tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes())
        for dots in figure.axes[1].collections
    }
    assert len(looks) == count  # colour and shape together are each class's own


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.01, 3])
def test_many_classes_are_named_at_their_centres(spread: float) -> None:
    classes = [*ODD_NAMES, *(f"class {k}" for k in range(100 - len(ODD_NAMES)))]
    figure = _embedding(classes, spread)
    assert_readable(figure)
    texts = words(figure)
    assert figure.axes[1].get_legend() is None
    named = sum(text.startswith("class ") for text in texts)
    assert named >= 10
    (note,) = (text for text in texts if text.startswith("names at the medians of "))
    assert note.endswith(" of 100 classes")
    assert len([text for text in figure.axes[1].texts if text.get_text()]) == int(note.split()[5])


@pytest.mark.parametrize("count", [3, 12, 40])
def test_names_cover_no_point_where_each_is_seen(count: int) -> None:
    """A point a class, far enough apart that there is room around each."""
    points = np.stack(np.divmod(np.arange(count), 7), 1) * 1.0
    classes = [f"the {k}th" for k in range(count)]
    figure = draw_embedding(points, np.arange(count), classes, ["x", "y"], "PCA")
    axes = figure.axes[1]
    found = [(text, box) for text, box in drawn_texts(figure) if text in axes.texts]
    places = axes.transData.transform(points)
    assert {text.get_text() for text, _ in found} == set(classes)
    for text, box in found:
        assert not any(box.contains(*place) for place in places), text


def test_embeddings_of_tiny_numbers_are_readable() -> None:
    points = 1e-9 * RANDOM.normal(size=(30, 2))
    assert_readable(draw_embedding(points, np.arange(30) % 3, ["a", "b", "c"], ["x", "y"], "PCA"))


def test_embeddings_of_a_network_that_diverged(cnnrun: Command, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "name: x\ndataset: {name: digits, limit: 50}\nmodel: {name: cnn, channels: [4], head: []}\n"
        "initializer: {name: constant, value: 3.0e+38}\n"
    )
    ended = cnnrun("viz", "embeddings", "x.yaml")
    assert ended.code == 1
    assert "the model's features are not finite; did it diverge?" in ended.err


def test_embeddings_need_a_plane(mlp: Target) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Linear(1, 10))
    narrow = Target(Path("x"), opened=Opened(replace(mlp.parts, model=model), False))
    with pytest.raises(UserError, match="this plot needs at least 3 test images and 2 features"):
        of_network.embeddings(narrow)
    convolutions = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    narrow = Target(Path("x"), opened=Opened(replace(mlp.parts, model=convolutions), False))
    with pytest.raises(UserError, match="the model has no fully connected layer"):
        of_network.embeddings(narrow)


def test_how_far_weights_moved_from_their_start() -> None:
    initial = np.array([[3.0, 0.0], [0.0, 4.0]])
    layer = LayerWeights("a", initial * [[1.1, 1], [1, 1]], initial)
    assert layer.moved == pytest.approx(0.3 / 5)
    assert any("moved 6 %" in text for text in words(draw_weights([layer], "Weights")))
    figure = draw_weights([layer], "Change", change=True)
    assert_readable(figure)
    # One filled histogram alone, around the change and not around the weights.
    [drawn] = figure.axes[1].patches
    edges = drawn.get_data().edges
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(0.3)
