"""Descriptions: equal to what hooks, gradients and independent counters measure."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchinfo
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cnnrun.errors import UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.description.layer_table import Description, Layer, bytes_text, count_text
from cnnrun.models.description.trace import describe
from cnnrun.models.resnet import ResNet
from cnnrun.models.vgg import VGG
from cnnrun.plots.drawing.diagram import MOST_BOXES, boxes_of, draw_diagram
from cnnrun.registry import models
from tests.conftest import quick_ones, slow_ones
from tests.models.test_zoo import on_meta
from tests.plot_reading import assert_readable, words

# Neither the pixels of an image nor two layers are what these tests are about.
REGISTERED = [
    name
    for name in models.names()
    if not name.endswith("/*") and name not in ("image", "linear_autoencoder")
]
# torchinfo counts a transposed convolution at each output pixel, which is four times too often.
CHANGED = {key: {"upsampling": "nearest"} for key in ("conv_autoencoder", "vae")}
TORCHVISION = ["alexnet", "vgg11", "resnet18", "squeezenet1_1", "googlenet", "densenet121"]
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Dropout, nn.Hardswish)


def built(name: str, shape: tuple[int, int, int]) -> nn.Module:
    if name in REGISTERED:
        config = models.get(name).schema()(**CHANGED.get(name, {}))
    else:
        config = models.get("torchvision/*").schema()(name=f"torchvision/{name}")
    model: nn.Module = models.build(config, input_shape=shape, num_classes=10)
    return model


def leaf_shapes(model: nn.Module, shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """(name, input shape, output shape) of each call of a leaf, seen by hooks."""
    calls: list[tuple[Any, ...]] = []
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: calls.append(
                    (name, tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))
                )
            )
    model.eval()(torch.zeros(1, *shape))
    return calls


@pytest.mark.parametrize("name", [*REGISTERED, *slow_ones(TORCHVISION, "vgg11")])
def test_shapes_and_parameters_are_what_hooks_see(name: str) -> None:
    shape = (3, 64, 64)
    model = built(name, shape)
    description = describe(model, shape)
    rows = [(row.name, row.input_shape, row.output_shape) for row in description.layers]
    assert len(rows) > 3
    assert rows == leaf_shapes(model, shape)
    assert description.parameters == sum(p.numel() for p in model.parameters())
    assert description.parameters == sum(row.parameters for row in description.layers)
    for row in description.layers:
        assert row.memory == 4 * math.prod(row.output_shape)
        check_arithmetic(row)


def check_arithmetic(row: Layer) -> None:
    """The text is true, and speaks of this output."""
    if row.kernel is None:
        return
    sides = row.arithmetic.split(", ")
    for i, text in enumerate(sides):
        left, _, right = text.partition(" = ")
        assert eval(left, {"floor": math.floor, "ceil": math.ceil}) == int(right)
        assert int(right) == row.output_shape[1 + i]
    assert len(sides) == 2 or row.output_shape[1] == row.output_shape[2]


def without_cancellation(model: nn.Module) -> nn.Module:
    """A copy in which every input has a positive part in every output that it can reach."""
    model = copy.deepcopy(model).double().eval()
    for parameter in model.parameters():
        parameter.data.fill_(0 if parameter.ndim < 2 else 1 / parameter[0].numel())
    for name, module in list(model.named_modules()):
        if isinstance(module, (nn.BatchNorm2d, *ACTIVATIONS)):
            model.set_submodule(name, nn.Identity())
        elif isinstance(module, nn.MaxPool2d):
            average = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            average.ceil_mode = module.ceil_mode
            model.set_submodule(name, average)
    return model


def check_fields(model: nn.Module, shape: tuple[int, int, int], most: int = 20) -> int:
    """Compare receptive fields with where gradients reach; how many could be compared exactly.

    At the borders units see less: there is nothing but zeros between pixels and in the padding.
    """
    # Of a module that is called twice, the first call is what the hooks below catch.
    rows = list({row.name: row for row in reversed(describe(model, shape).layers)}.values())[::-1]
    rows = rows[:: max(len(rows) // most, 1)] + rows[-1:]
    linear = without_cancellation(model)
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        # A clone: `out += shortcut` would change it.
        outputs.setdefault(name, output.clone() if isinstance(output, Tensor) else output)

    for name, module in linear.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
    image = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    linear(image)
    exactly = 0
    for row in rows:
        output = outputs[row.name]
        if row.receptive_field is None or (output.ndim == 2 and row.jump):
            continue  # flattened maps: which unit lies where is seen in the row before
        height, width = output.shape[2:] if output.ndim == 4 else (1, 1)
        for i, j in {(height // 2, width // 2), (height - 1, 0)}:
            unit = output[0, :, i, j] if output.ndim == 4 else output[0]
            (gradient,) = torch.autograd.grad(unit.sum(), image, retain_graph=True)
            for axis, place in enumerate((i, j)):
                reached = gradient[0].abs().sum((0, 2 - axis)).nonzero().flatten().tolist()
                first, last = predicted(row, axis, place)
                assert not reached or (first <= reached[0] and reached[-1] <= last), row
                # A unit wholly in the padding of one axis sees nothing of the other.
                if reached and first >= 0 and last < shape[1 + axis]:
                    assert (first, last) == (reached[0], reached[-1]), row
                    exactly += 1
    return exactly


def predicted(row: Layer, axis: int, place: int) -> tuple[int, int]:
    """The first and the last pixel that the unit at `place` should see."""
    assert row.receptive_field
    assert row.field_start
    first = row.field_start[axis] + place * (row.jump[axis] if row.jump else 0)
    return first, first + row.receptive_field[axis] - 1


LARGE = [("googlenet", 480), ("mobilenet_v2", 544), ("densenet121", 416), ("resnet18", 544)]
SLOW = [("whitened_cnn", 160), ("resnet", 160), *LARGE]
HEIGHTS = [
    *((name, 160) for name in REGISTERED),
    ("squeezenet1_1", 320),
    ("shufflenet_v2_x0_5", 544),
    *LARGE,
]


@pytest.mark.parametrize(
    ("name", "height"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case in SLOW else []) for case in HEIGHTS],
)
def test_receptive_fields_are_where_gradients_reach(name: str, height: int) -> None:
    """High images, so that most units see nothing beyond the border."""
    shape = (3, height, 32)
    model = VGG(shape, 10, width=4, head=[8]) if name == "vgg" else built(name, shape)
    assert check_fields(model, shape) > 10


@given(
    size=st.tuples(st.integers(10, 22), st.integers(10, 22)),
    kernel_size=st.lists(st.integers(1, 4), min_size=2, max_size=2),
    stride=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    padding=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    dilation=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    pooling=st.sampled_from(["max", "average", "none"]),
    pool_size=st.integers(1, 3),
    pool_stride=st.integers(1, 3),
    kind=st.lists(st.sampled_from(["conv", "local"]), min_size=2, max_size=2),
    head_pooling=st.sampled_from(["flatten", "average"]),
)
@settings(max_examples=30, deadline=None)
def test_any_cnn_is_described_as_measured(size: tuple[int, int], **options: Any) -> None:
    shape = (2, *size)
    try:
        model = CNN(shape, 2, channels=[2, 2], **options)
    except UserError:
        assume(False)
    check_fields(model, shape)
    rows = describe(model, shape).layers
    assert [(r.name, r.input_shape, r.output_shape) for r in rows] == leaf_shapes(model, shape)
    for row in rows:
        check_arithmetic(row)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_every_padding_mode_sees_the_same(mode: Any) -> None:
    model = CNN((1, 40, 40), 3, channels=[4, 4], kernel_size=5, padding_mode=mode)
    rows = {row.name: row for row in describe(model, (1, 40, 40)).layers}
    assert rows["features.1.conv"].receptive_field == (14, 14)
    assert rows["features.1.conv"].jump == (2, 2)


def wrong_bias_count(model: nn.Module, description: Description) -> int:
    """torchinfo counts biases and norms as multiplications: one a parameter and position."""
    extra = 0
    for row in description.layers:
        module = model.get_submodule(row.name)
        if isinstance(module, nn.BatchNorm2d):
            extra += row.parameters
        elif getattr(module, "bias", None) is not None:
            extra += math.prod(row.output_shape)
    return extra


@pytest.mark.parametrize(
    "name",
    [
        *REGISTERED,
        *slow_ones(TORCHVISION, "vgg11", "alexnet", "densenet121"),
        "mobilenet_v2",
        "shufflenet_v2_x0_5",
    ],
)
def test_counts_equal_torchinfos(name: str) -> None:
    shape = (3, 64, 64)
    model = built(name, shape)
    description = describe(model, shape)
    counted = torchinfo.summary(model, (1, *shape), verbose=0)
    assert description.parameters == counted.total_params
    assert description.trainable_parameters == counted.trainable_params
    extra = wrong_bias_count(model, description)
    assert description.multiply_adds == counted.total_mult_adds - extra


PUBLISHED = (
    *("resnet50", "vgg16_bn", "vit_b_16", "swin_t", "maxvit_t", "convnext_tiny"),
    *("resnext50_32x4d", "regnet_y_400mf", "efficientnet_b0", "mobilenet_v3_small"),
)


@pytest.mark.parametrize(
    "name", quick_ones(PUBLISHED, "resnet50", "vit_b_16", "resnext50_32x4d", "mobilenet_v3_small")
)
def test_counts_equal_those_that_torchvision_publishes(name: str) -> None:
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    model = on_meta(lambda: torchvision.models.get_model(name))
    description = describe(model, (3, 224, 224))
    assert description.parameters == weights.meta["num_params"]
    assert sum(row.parameters for row in description.layers) == weights.meta["num_params"]
    assert description.multiply_adds / 1e9 == pytest.approx(weights.meta["_ops"], abs=6e-4)


def test_known_fields_of_resnets() -> None:
    """Araujo et al. 2019, "Computing receptive fields of convolutional neural networks"."""
    for name, size in (("resnet50", 427), ("resnet18", 435), ("vgg16", 212)):
        model = on_meta(lambda name=name: torchvision.models.get_model(name))
        rows = [row for row in describe(model, (3, 224, 224)).layers if len(row.output_shape) == 3]
        last = [row for row in rows if "Adaptive" not in row.kind][-1]
        assert last.receptive_field == (size, size)


def test_nothing_is_changed() -> None:
    model = nn.Sequential(CNN((1, 12, 12), 3, channels=[4], batch_norm=True, dropout=0.5))
    model.train()
    model[0].features.eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    describe(model, (1, 12, 12))
    with pytest.raises(RuntimeError):
        describe(model, (3, 12, 12))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()


class Twice(nn.Module):
    """One convolution used twice, and a weight shared by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(self.conv(images))
        return self.second(self.first(maps.mean((2, 3))))


def test_what_is_used_twice_is_counted_once_and_computed_twice() -> None:
    description = describe(Twice(), (2, 6, 5))
    conv = 2 * 2 * 9
    assert [row.parameters for row in description.layers] == [conv + 2, 0, 4 + 2, 2]
    work = [conv * 30, conv * 30, 4, 4]
    assert [row.multiply_adds for row in description.layers] == work
    assert [row.receptive_field for row in description.layers][:2] == [(3, 3), (5, 5)]
    assert description.parameters == sum(p.numel() for p in Twice().parameters()) == conv + 2 + 8


class After(nn.Module):
    """A convolution, some function of its maps, and a convolution."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.change = change

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.change(self.first(images)))


def written_to(maps: Tensor) -> Tensor:
    new = torch.zeros_like(maps)
    new[:, :, 1:] = maps[:, :, :-1]
    return new


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda maps: maps[:, :, 2:, 1::2], (5, 7)),
        (lambda maps: F.pad(maps, (2, 2, 2, 2)), (5, 5)),
        (lambda maps: torch.cat([maps[:, :2], F.avg_pool2d(maps[:, 2:], 3, 1, 1)], 1), (7, 7)),
        (lambda maps: maps * maps.mean((2, 3), keepdim=True), (16, 16)),
        (lambda maps: F.group_norm(maps, 2), (16, 16)),
        (lambda maps: maps.flatten(2).transpose(1, 2).transpose(1, 2).view_as(maps), (5, 5)),
        (lambda maps: maps.softmax(1), (5, 5)),
        (lambda maps: maps.softmax(3), (5, 16)),
        (lambda maps: F.adaptive_avg_pool2d(maps, 7), (8, 8)),
        (lambda maps: F.adaptive_avg_pool2d(maps, 5), None),
        (lambda maps: F.interpolate(maps, scale_factor=2.0), None),
        (lambda maps: maps.roll(1, 2), None),
        (lambda maps: maps.flip(2), None),
        (written_to, None),
    ],
)
def test_fields_between_layers_are_right_or_unknown(
    change: Any, field: tuple[int, int] | None
) -> None:
    rows = describe(After(change), (1, 16, 16)).layers
    assert rows[0].receptive_field == (3, 3)
    assert rows[-1].receptive_field == field


def test_the_table_and_the_json() -> None:
    models_of = [CNN((1, 28, 28), 10, head=[128]), ResNet((1, 28, 28), 10), VGG((1, 28, 28), 10)]
    for model in models_of:
        description = describe(model, (1, 28, 28))
        lines = description.to_text().splitlines()
        assert max(map(len, lines)) <= 100
        assert f"{description.parameters:,}" in description.to_text()
        plain = description.to_dict()
        assert json.loads(json.dumps(plain)) == plain
        assert plain["totals"]["multiply_adds"] == description.multiply_adds
        assert len(plain["layers"]) == len(description.layers)
    text = describe(models_of[0], (1, 28, 28)).to_text()
    assert "(28+2*1-3)/1+1" in text
    first = describe(models_of[0], (1, 28, 28)).layers[0]
    assert first.arithmetic == "(28 + 2*1 - 3)/1 + 1 = 28"
    dilated = CNN((1, 9, 9), 2, channels=[2], stride=2, dilation=2, pooling="none")
    wanted = "(9 + 2*2 - 2*(3 - 1) - 1)/2 + 1 = 5"
    assert describe(dilated, (1, 9, 9)).layers[0].arithmetic == wanted


def test_numbers_in_words() -> None:
    numbers = (0, 999, 1000, 9_996, 999_949, 45_600_000)
    assert [count_text(n) for n in numbers] == ["0", "999", "1K", "10K", "1M", "45.6M"]
    assert [bytes_text(n) for n in (40, 1023, 1024, 100352)] == [
        "40 B",
        "1023 B",
        "1 KiB",
        "98 KiB",
    ]


@pytest.mark.parametrize(
    "name",
    [
        *REGISTERED,
        "resnet50",
        "vit_b_16",
        pytest.param("efficientnet_b7", marks=pytest.mark.slow),
        pytest.param("densenet121", marks=pytest.mark.slow),
    ],
)
def test_diagrams_are_readable_and_short(name: str) -> None:
    if name in REGISTERED:
        shape = (3, 32, 32)
        model = built(name, shape)
    else:
        shape = (3, 224, 224)
        model = on_meta(lambda: torchvision.models.get_model(name))
    description = describe(model, shape)
    figure = draw_diagram(description)
    assert_readable(figure)
    boxes = boxes_of(description)
    assert 2 <= len(boxes) <= MOST_BOXES
    written = words(figure)
    assert boxes[-1].title in written
    if name in REGISTERED:
        assert sum(b.parameters * b.times for b in boxes) == description.parameters
        assert sum(b.multiply_adds * b.times for b in boxes) == description.multiply_adds


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_fits_its_terminal_and_keeps_names_shapes_and_costs(width: int) -> None:
    found = describe(CNN((3, 32, 32), 10, channels=[16, 32]), (3, 32, 32))
    lines = found.to_text(width).split("\n\n")[1].splitlines()[:-4]  # without the totals
    assert max(map(len, lines)) <= width
    assert {"layer", "kind", "output", "params", "MACs"} <= set(lines[0].split())
    assert ("size" in lines[0].split()) == (width > 60)
