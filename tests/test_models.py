"""Networks: shapes, gradients, errors that name the block, like with like."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnrun.errors import UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.locally_connected import LocallyConnected2d
from cnnrun.models.mlp import MLP
from cnnrun.registry import models


def test_mlp_is_the_textbooks() -> None:
    model = MLP((1, 28, 28), 10, hidden=[512, 512], dropout=0.2)
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert sum(p.numel() for p in model.parameters()) == 784 * 512 + 512 + 512 * 513 + 513 * 10
    assert sum(isinstance(m, nn.Dropout) for m in model.modules()) == 2
    assert sum(p.numel() for p in MLP((1, 8, 8), 10, hidden=[]).parameters()) == 650


@given(
    size=st.integers(8, 20),
    channels=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid", 1, 2]),
    dilation=st.integers(1, 2),
    pooling=st.sampled_from(["max", "average", "none"]),
    kind=st.sampled_from(["conv", "local"]),
    head_pooling=st.sampled_from(["flatten", "average"]),
)
@settings(max_examples=60, deadline=None)
def test_every_cnn_builds_and_trains_or_says_why_not(size: int, **options: Any) -> None:
    options["kernel_size"] = options.pop("kernel")
    try:
        model = CNN((2, size, size), 3, **options)
    except UserError as error:
        refusal = str(error)
        assert refusal.startswith(("block ", "padding same"))
        return
    images = torch.randn(2, 2, size, size)
    logits = model(images)
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"channels": [8, 8], "kernel_size": [3]}, "kernel_size: 1 entries for 2 blocks"),
        ({"kernel_size": 9, "padding": "valid"}, "block 1: kernel_size reaches over 9 pixels, but "
         "its maps are 8 x 8"),
        ({"channels": [4] * 5}, "block 4: pool_size reaches over 2 pixels, but its maps are 1 x 1"),
        ({"kernel_size": 2}, "padding same: a kernel of 2"),
        ({"channels": [3], "groups": 2}, "block 1: 1 channels in and 3 out can't be parted into 2"),
        ({"padding_mode": "reflect", "padding": 8}, "block 1: reflect padding of 8 on 8 x 8 maps"),
        ({"kind": "local", "padding_mode": "reflect"}, "block 1: kind local has no groups"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(UserError, match="^" + wanted.replace("(", r"\(")):
        CNN((1, 8, 8), 10, **options)


def test_same_padding_keeps_or_halves_the_size() -> None:
    model = CNN((3, 33, 17), 5, channels=[4, 4], stride=[1, 2], pooling="none", kernel_size=5)
    assert model.features(torch.zeros(1, 3, 33, 17)).shape == (1, 4, 17, 9)


def test_head_pooling_average_has_fewer_parameters_and_any_size_works() -> None:
    flat = CNN((1, 32, 32), 10)
    average = CNN((1, 32, 32), 10, head_pooling="average")
    count = [sum(p.numel() for p in m.head.parameters()) for m in (flat, average)]
    assert count == [64 * 8 * 8 * 10 + 10, 64 * 10 + 10]
    assert average(torch.zeros(1, 1, 40, 48)).shape == (1, 10)


def test_depthwise_convolves_each_channel_alone() -> None:
    model = CNN((4, 8, 8), 2, channels=[4], groups="depthwise", pooling="none")
    images = torch.randn(1, 4, 8, 8)
    changed = images.clone()
    changed[:, 1] += 1
    difference = (model.features(images) - model.features(changed)).abs().amax((0, 2, 3))
    assert difference[1] > 0
    assert difference[[0, 2, 3]].max() == 0


@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2),
    st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_locally_connected_with_equal_weights_is_a_convolution(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    convolution = nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type]
    local = LocallyConnected2d(inputs, outputs, (9, 7), kernel_size=kernel, **options)
    assert convolution.bias is not None
    assert local.bias is not None
    local.weight.data[:] = convolution.weight.data.reshape(outputs, -1)
    local.bias.data[:] = convolution.bias.data
    images = torch.randn(2, inputs, 9, 7)
    torch.testing.assert_close(local(images), convolution(images), rtol=1e-4, atol=1e-5)


def test_locally_connected_gradient_equals_finite_differences() -> None:
    local = LocallyConnected2d(2, 3, (5, 4), kernel_size=3, padding=1, stride=2).double()
    images = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(local, (images,))
    assert local.bias is not None
    parameters = (local.weight.detach().requires_grad_(), local.bias.detach().requires_grad_())

    def of_parameters(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        named = {"weight": weight, "bias": bias}
        return torch.func.functional_call(local, named, (images.detach(),))

    assert torch.autograd.gradcheck(of_parameters, parameters)


def test_locally_connected_positions_learn_apart() -> None:
    local = LocallyConnected2d(1, 1, (4, 4), kernel_size=3)
    local(torch.ones(1, 1, 4, 4))[0, 0, 0, 0].backward()
    assert local.weight.grad is not None
    assert (local.weight.grad.abs().sum((1, 2)) > 0).tolist() == [True, False, False, False]


def test_every_registered_model_takes_gray_and_rgb() -> None:
    assert models.names()
    for name in models.names():
        config = models.get(name).schema()()
        for shape in ((1, 32, 32), (3, 32, 32)):
            model = models.build(config, input_shape=shape, num_classes=7)
            assert model.eval()(torch.zeros(2, *shape)).shape == (2, 7)
