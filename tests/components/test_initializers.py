"""Initializers against their laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from cnnrun.components.initializers import initialize
from cnnrun.errors import UserError
from cnnrun.models.cnn import CNN
from cnnrun.models.locally_connected import LocallyConnected2d
from cnnrun.registry import initializers


def _config(name: str, **parameters: Any) -> Any:
    return initializers.get(name).schema()(**parameters)


def _filled(name: str, shape: tuple[int, ...] = (300, 20, 3, 3), **parameters: Any) -> Tensor:
    torch.manual_seed(0)
    weight = torch.full(shape, math.nan)
    initializers.build(_config(name, **parameters), weight=weight)
    return weight


FAN_IN, FAN_OUT = 20 * 9, 300 * 9


def _within(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound)


@pytest.mark.parametrize(
    ("name", "parameters", "law"),
    [
        ("uniform", {}, stats.uniform(0, 1)),
        ("uniform", {"low": -2.0, "high": 2.0}, _within(2)),
        ("normal", {}, stats.norm(0, 0.05)),
        ("normal", {"mean": 1.0, "std": 0.1}, stats.norm(1, 0.1)),
        ("uniform_fan_in", {}, _within(1 / math.sqrt(FAN_IN))),
        ("xavier_uniform", {}, _within(math.sqrt(6 / (FAN_IN + FAN_OUT)))),
        ("xavier_normal", {}, stats.norm(0, math.sqrt(2 / (FAN_IN + FAN_OUT)))),
        ("xavier_normal", {"gain": 3.0}, stats.norm(0, 3 * math.sqrt(2 / (FAN_IN + FAN_OUT)))),
        ("kaiming_uniform", {}, _within(math.sqrt(6 / FAN_IN))),
        ("kaiming_uniform", {"mode": "fan_out"}, _within(math.sqrt(6 / FAN_OUT))),
        ("kaiming_normal", {}, stats.norm(0, math.sqrt(2 / FAN_IN))),
        ("kaiming_normal", {"mode": "fan_out"}, stats.norm(0, math.sqrt(2 / FAN_OUT))),
        ("kaiming_normal", {"nonlinearity": "linear"}, stats.norm(0, math.sqrt(1 / FAN_IN))),
        ("trunc_normal", {}, stats.truncnorm(-2, 2, 0, 0.02)),
        ("trunc_normal", {"mean": 1.0, "std": 0.5}, stats.truncnorm(-2, 2, 1, 0.5)),
    ],
)
def test_draws_follow_the_law(name: str, parameters: dict[str, Any], law: Any) -> None:
    """Kolmogorov and Smirnov's test on 54,000 draws tells scales apart that differ by 2 %."""
    weight = _filled(name, **parameters)
    assert stats.kstest(weight.flatten().numpy(), law.cdf).pvalue > 0.001
    low, high = law.support()
    assert weight.min().item() >= low - 1e-6
    assert weight.max().item() <= high + 1e-6


@pytest.mark.parametrize(
    ("name", "parameters", "value"),
    [("zeros", {}, 0.0), ("ones", {}, 1.0), ("constant", {"value": 0.3}, 0.3)],
)
def test_constants(name: str, parameters: dict[str, Any], value: float) -> None:
    weight = _filled(name, **parameters)
    torch.testing.assert_close(weight, torch.full_like(weight, value))


@pytest.mark.parametrize("shape", [(16, 4, 3, 3), (50, 12), (12, 50)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    matrix = _filled("orthogonal", shape, gain=2.0).flatten(1)
    shorter = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    torch.testing.assert_close(shorter @ shorter.T, 4 * torch.eye(len(shorter)), atol=1e-4, rtol=0)


def test_uniform_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(UserError, match="low 2 is above high 1"):
        _filled("uniform", low=2.0)


@given(
    inputs=st.sampled_from([2, 4, 6]),
    outputs=st.sampled_from([20, 40]),
    kernel=st.integers(1, 3),
    layer=st.sampled_from(["linear", "conv", "grouped", "local"]),
)
@settings(max_examples=30, deadline=None)
def test_the_fan_is_that_of_one_unit_in_every_kind_of_layer(
    inputs: int, outputs: int, kernel: int, layer: str
) -> None:
    """Bound 1/sqrt(n) from n = the inputs of a unit, and all of it is used."""
    torch.manual_seed(0)
    layers: dict[str, tuple[nn.Linear | nn.Conv2d | LocallyConnected2d, int]] = {
        "linear": (nn.Linear(inputs * 9, outputs), inputs * 9),
        "conv": (nn.Conv2d(inputs, outputs, kernel), inputs * kernel**2),
        "grouped": (nn.Conv2d(inputs, outputs, kernel, groups=2), inputs // 2 * kernel**2),
        "local": (
            LocallyConnected2d(inputs, outputs, (5, 5), kernel_size=kernel), inputs * kernel**2
        ),
    }  # fmt: skip
    module, fan_in = layers[layer]
    module.weight.data.fill_(math.nan)
    initialize(module, _config("uniform_fan_in"))
    bound = 1 / math.sqrt(fan_in)
    largest = module.weight.abs().max().item()
    assert 0.7 * bound < largest <= bound
    assert module.bias is not None
    assert not module.bias.any()


def test_every_position_of_a_locally_connected_layer_is_a_layer_of_its_own() -> None:
    local = LocallyConnected2d(2, 4, (4, 4), kernel_size=3)
    initialize(local, _config("orthogonal"))
    for rows in local.weight:
        torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)
    assert not torch.equal(local.weight[0], local.weight[1])


def test_a_whole_model_but_not_its_normalization() -> None:
    model = CNN((3, 12, 12), 10, channels=[8, 8], kind=["conv", "local"], head=[5], batch_norm=True)
    norms = {name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 2
    initialize(model, _config("constant", value=0.5))
    for name, parameter in model.named_parameters():
        module, _, kind = name.rpartition(".")
        wanted = 0.0 if kind == "bias" else 1.0 if module in norms else 0.5
        assert torch.all(parameter == wanted), name


@pytest.mark.parametrize("name", [n for n in initializers.names() if n != "default"])
def test_each_fills_a_whole_model_and_leaves_gradients_possible(name: str) -> None:
    model = CNN((1, 8, 8), 3, channels=[4, 4], kind=["conv", "local"], head=[5])
    initialize(model, _config(name))
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


def test_default_changes_nothing() -> None:
    model = CNN((1, 8, 8), 3, kind="local")
    before = [p.clone() for p in model.parameters()]
    initialize(model, _config("default"))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
