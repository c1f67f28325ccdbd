"""The plots of a study, from the variants' runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cnnrun.engine.build_model import build_initialized_model
from cnnrun.engine.parts import Parts
from cnnrun.evaluation.invariance import Curve, invariance
from cnnrun.evaluation.loading import open_run_of
from cnnrun.models.hooks import visit_layers
from cnnrun.plots.drawing.comparison import draw_comparison, draw_curves_of_groups
from cnnrun.plots.drawing.histograms import LayerWeights
from cnnrun.plots.drawing.invariance import draw_invariance
from cnnrun.plots.drawing.variants import (
    Spread,
    draw_against_parameters,
    draw_spread,
    draw_weights_of_variants,
)
from cnnrun.plots.of_network import layer_weights
from cnnrun.plots.style import Figure, save

if TYPE_CHECKING:
    from cnnrun.comparison import Result, RunRecord
    from cnnrun.multirun.study.findings import Findings

_WEIGHTED = (nn.Linear, nn.Conv2d)


def draw_all(findings: Findings) -> list[Path]:
    """Draw the comparison and every plot that the study names; returns their files."""
    drawing: dict[str, Callable[[Findings], Figure]] = {
        "comparison": lambda findings: draw_comparison(findings.comparison),
        "curves": lambda findings: draw_curves_of_groups(findings.comparison, "loss"),
        "parameters": lambda findings: draw_against_parameters(findings.comparison),
        "weights": _weights,
        "activations": _activations,
        "invariance": _invariance,
    }
    names = dict.fromkeys(["comparison", *findings.study.plots])
    folder = findings.study.folder
    return [save(drawing[name](findings), folder / f"{name}.png") for name in names]


def invariances(findings: Findings) -> dict[str, list[list[Curve]]]:
    """By variant, the invariance curves of each run."""
    return {
        result.name: [invariance(_open(findings, result, run)) for run in result.group.runs]
        for result in findings.comparison.results
    }


def _invariance(findings: Findings) -> Figure:
    title = "Test accuracy under rotation, scaling and shifts"
    return draw_invariance(findings.invariances, title)


def _weights(findings: Findings) -> Figure:
    found: dict[str, list[LayerWeights]] = {}
    for name, parts in _first_runs(findings):
        found[name] = layer_weights(parts)
    seed = findings.comparison.results[0].group.runs[0].seed
    return draw_weights_of_variants(found, f"Weights before and after training (seed {seed})")


def _activations(findings: Findings) -> Figure:
    found: dict[str, Spread] = {}
    for name, parts in _first_runs(findings):
        dataset = parts.dataset
        initial, *_ = build_initialized_model(
            parts.experiment, dataset.input_shape, len(dataset.classes)
        )
        before = _spreads(initial.to(parts.device), parts)
        after = _spreads(parts.model, parts)
        found[name] = Spread(list(after), list(before.values()), list(after.values()))
    return draw_spread(found, "How widely each layer's outputs spread, on 100 test images")


def _spreads(model: nn.Module, parts: Parts) -> dict[str, float]:
    """By name, the standard deviation of what each layer with weights gives."""
    count = min(100, len(parts.dataset.test))
    images = parts.dataset.test.images[torch.arange(count)]
    found: dict[str, float] = {}

    def note(name: str, layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        if isinstance(layer, _WEIGHTED):
            found[name] = float(output.float().std())

    visit_layers(model, parts.pipeline.normalize(images.to(parts.device)), note)
    return found


def _first_runs(findings: Findings) -> list[tuple[str, Parts]]:
    """The best first, the parts of each variant's first run."""
    return [
        (result.name, _open(findings, result, result.group.runs[0]))
        for result in findings.comparison.results
    ]


def _open(findings: Findings, result: Result, run: RunRecord) -> Parts:
    return open_run_of(findings.experiments[result.name], run.path)[1]
