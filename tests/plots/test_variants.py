"""The plots of studies: every variant is drawn, told apart, and readable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnnrun.comparison import Comparison, Group, Result, RunRecord
from cnnrun.comparison.results import RankedBy
from cnnrun.comparison.statistics import mean_interval
from cnnrun.evaluation.invariance import AMOUNTS, Curve
from cnnrun.metrics import ACCURACY
from cnnrun.plots.drawing.comparison import draw_curves_of_groups
from cnnrun.plots.drawing.histograms import LayerWeights
from cnnrun.plots.drawing.invariance import draw_invariance
from cnnrun.plots.drawing.variants import (
    Spread,
    draw_against_parameters,
    draw_spread,
    draw_weights_of_variants,
)
from tests.plot_reading import LONG, assert_readable, words

RANDOM = np.random.default_rng(0)
COUNTS = pytest.mark.parametrize("count", [1, 2, 5, 7])


def names(count: int) -> list[str]:
    return ["kaiming", LONG[:40], "x"][:count] + [f"variant_{k}" for k in range(3, count)]


def comparison(count: int, parameters: float = 1e5) -> Comparison:
    """`count` variants of three seeds each, with logs of six epochs."""
    results = []
    for number, name in enumerate(names(count)):
        runs = []
        for seed in range(3):
            run = RunRecord(
                Path(f"{name}-{seed}"),
                {"seed": seed},
                {"parameters": int(parameters * (1 + 3 * number))},
            )
            run.__dict__["rows"] = [
                {"train_loss": 10.0 ** (number - epoch), "validation_loss": 1 / (1 + epoch)}
                for epoch in range(6)
            ]
            runs.append(run)
        scores = {seed: 0.9 - 0.1 * number + 0.01 * seed for seed in range(3)}
        group = Group({}, runs, name=name, label=name)
        results.append(Result(name, group, scores, mean_interval(list(scores.values())), 0.01))
    return Comparison(ACCURACY, "test", RankedBy("test", ACCURACY), results, [])


def curves(runs: int) -> list[list[Curve]]:
    return [
        [Curve(c, amounts, RANDOM.random(len(amounts))) for c, amounts in AMOUNTS.items()]
        for _ in range(runs)
    ]


@COUNTS
def test_loss_curves(count: int) -> None:
    figure = draw_curves_of_groups(comparison(count), "loss")
    assert_readable(figure)
    assert [len(axes.lines) for axes in figure.axes[1:]] == [count, count]
    train, validation = figure.axes[1:]
    assert train.get_yscale() == "log"  # they lie decades apart
    assert validation.get_yscale() == "linear"


@COUNTS
@pytest.mark.parametrize("parameters", [10, 9_999, 1e5, 25e6])
def test_against_parameters(count: int, parameters: float) -> None:
    figure = draw_against_parameters(comparison(count, parameters))
    assert_readable(figure)
    means = [line for line in figure.axes[1].lines if line.get_markersize() == 9]
    assert [round(float(line.get_ydata()[0]), 6) for line in means] == [
        pytest.approx(91 - 10 * k) for k in range(count)
    ]


@COUNTS
@pytest.mark.parametrize("runs", [1, 3])
def test_invariance(count: int, runs: int) -> None:
    found = {name: curves(runs) for name in names(count)}
    figure = draw_invariance(found, "Accuracy on moved images")
    assert_readable(figure)
    for axes in figure.axes[1:]:
        assert len(axes.lines) == count + 1  # and where nothing is changed
        assert len(axes.collections) == (count if runs > 1 else 0)
    if count > 1:
        assert "kaiming" in words(figure)


@COUNTS
@pytest.mark.parametrize("layers", [1, 3, 20])
def test_spread(count: int, layers: int) -> None:
    layer_names = [f"features.{k}" for k in range(layers)]
    values = [10.0 ** (k - 3) for k in range(layers)]
    broken = [0.0, float("nan"), float("inf")][:layers] + values[3:]
    found = {name: Spread(layer_names, values, broken) for name in names(count)}
    figure = draw_spread(found, "Spread")
    assert_readable(figure)
    first, second = figure.axes[1:]
    assert first.get_ylim() == second.get_ylim()
    assert not np.isfinite(second.lines[0].get_ydata()[:3]).any()


@COUNTS
def test_weights(count: int) -> None:
    layers = [
        LayerWeights(f"features.{k}", RANDOM.normal(size=(20, 30)), RANDOM.normal(size=(20, 30)))
        for k in range(7)
    ]
    found = {name: layers[: 1 + k] for k, name in enumerate(names(count))}
    figure = draw_weights_of_variants(found, "Weights")
    assert_readable(figure)
    assert len(figure.axes) - 1 == sum(min(5, len(shown)) for shown in found.values())
