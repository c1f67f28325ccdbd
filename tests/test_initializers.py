"""Initializers against their laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnrun.initializers import initialize
from cnnrun.models.cnn import CNN
from cnnrun.registry import initializers


def _filled(name: str, shape: tuple[int, ...] = (300, 20, 3, 3), **parameters: Any) -> Tensor:
    torch.manual_seed(0)
    weight = torch.empty(shape)
    initializers.build(initializers.get(name).schema()(**parameters), weight=weight)
    return weight


FAN_IN, FAN_OUT = 20 * 9, 300 * 9


@pytest.mark.parametrize(
    ("name", "parameters", "mean", "std", "bound"),
    [
        ("zeros", {}, 0, 0, 0),
        ("ones", {}, 1, 0, 1),
        ("constant", {"value": 0.3}, 0.3, 0, 0.3),
        ("uniform", {}, 0.5, 1 / math.sqrt(12), 1),
        ("uniform", {"low": -2.0, "high": 2.0}, 0, 4 / math.sqrt(12), 2),
        ("normal", {"std": 0.1}, 0, 0.1, 0.7),
        ("uniform_fan_in", {}, 0, 1 / math.sqrt(3 * FAN_IN), 1 / math.sqrt(FAN_IN)),
        ("xavier_uniform", {}, 0, math.sqrt(2 / (FAN_IN + FAN_OUT)), 1),
        ("xavier_normal", {}, 0, math.sqrt(2 / (FAN_IN + FAN_OUT)), 1),
        ("kaiming_uniform", {}, 0, math.sqrt(2 / FAN_IN), math.sqrt(6 / FAN_IN)),
        ("kaiming_normal", {}, 0, math.sqrt(2 / FAN_IN), 1),
        ("kaiming_normal", {"mode": "fan_out"}, 0, math.sqrt(2 / FAN_OUT), 1),
        ("trunc_normal", {"std": 0.02}, 0, 0.02 * 0.8796, 0.04),
    ],
)
def test_moments_and_bounds(
    name: str, parameters: dict[str, Any], mean: float, std: float, bound: float
) -> None:
    weight = _filled(name, **parameters)
    assert weight.mean().item() == pytest.approx(mean, abs=0.005)
    assert weight.std().item() == pytest.approx(std, rel=0.02, abs=1e-7)
    assert weight.abs().max().item() <= bound + 1e-6


def test_orthogonal_rows() -> None:
    rows = _filled("orthogonal", (16, 4, 3, 3)).flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["conv", "local"])
def test_a_whole_model(kind: str) -> None:
    """Weights follow the law by their kernel's fan-in; biases are 0; normalization stays."""
    model = CNN((3, 12, 12), 10, channels=[32], kind=kind, head=[50])  # type: ignore[arg-type]
    initialize(model, initializers.get("uniform_fan_in").schema()())
    layer = model.features[0][0]  # type: ignore[index]
    for weight, fan_in in ((layer.weight, 27), (model.head[-1].weight, 50)):  # type: ignore[union-attr]
        assert isinstance(weight, Tensor)
        bound = 1 / math.sqrt(fan_in)
        assert weight.abs().max().item() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))
    normed = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    initialize(normed, initializers.get("constant").schema()(value=0.5))
    assert normed[1].weight.tolist() == [1.0] * 4
    assert torch.all(normed[0].weight == 0.5)  # type: ignore[arg-type]


def test_default_changes_nothing() -> None:
    model = nn.Linear(4, 3)
    before = [p.clone() for p in model.parameters()]
    initialize(model, initializers.get("default").schema()())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
