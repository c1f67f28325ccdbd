"""The variants of a study side by side: size, weights, spread of activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnnrun.comparison import Comparison
from cnnrun.plots.drawing.comparison import line_of, marker_of
from cnnrun.plots.drawing.histograms import LayerWeights, draw_histograms, thinned
from cnnrun.plots.drawing.lettering import in_legend, set_fonts, shorten, widest
from cnnrun.plots.drawing.scales import set_log_scale
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    MARGIN,
    MUTED,
    SMALL,
    VERMILLION,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LAYERS = 5
"""Layers of a variant whose weights are shown; of more, some from the first to the last."""

_SMALL_PANEL, _NAME = (190, 88), 150
_SCATTER, _SPREAD = (520, 340), (380, 270)
"""Pixels of the panels, and of a variant's name beside its histograms."""


@styled
def draw_against_parameters(comparison: Comparison) -> Figure:
    """Each variant's final score (mean, and each seed a point) against its number of parameters."""
    results = [result for result in comparison.results if result.interval]
    metric = comparison.metric
    title = f"{comparison.split} {metric.display_name} against parameters"
    names = [shorten(result.name, 260, SMALL) for result in results]
    left, legend = 92, 50 + math.ceil(widest(names, SMALL))
    width = left + _SCATTER[0] + legend + MARGIN
    sheet = Sheet(width, HEADER + _SCATTER[1] + 80, title)
    axes = new_axes(sheet.figure, left, HEADER + 4, *_SCATTER)
    for number, (result, name) in enumerate(zip(results, names, strict=True)):
        scores = [metric.scale * score for score in result.scores.values()]
        parameters = result.group.runs[0].summary["parameters"]
        style = {"color": line_of(number)["color"], "marker": marker_of(number)["marker"]}
        axes.plot([parameters] * len(scores), scores, linestyle="", alpha=0.4, ms=4, **style)
        axes.plot(
            [parameters], [np.mean(scores)], linestyle="", ms=9, label=in_legend(name), **style
        )
    axes.set_xscale("log")  # so that the margins are shares of the logarithm
    axes.margins(x=0.12, y=0.12)
    set_log_scale(axes, "x", _thousands)
    axes.tick_params(axis="x", labelsize=SMALL, length=4, pad=5)
    axes.set(xlabel="parameters", ylabel=f"{comparison.split} {metric.label}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=SMALL, labelspacing=0.9)
    text = "large: mean over seeds; small: one per seed"
    sheet.write(MARGIN, sheet.height - 14, text, size=SMALL, color=MUTED)
    set_fonts(sheet.figure)
    return sheet.figure


def _thousands(value: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


@styled
def draw_weights_of_variants(variants: Mapping[str, Sequence[LayerWeights]], title: str) -> Figure:
    """A row for each variant with the histograms of its layers' weights, before and after."""
    shown = {
        name: [layers[k] for k in thinned(len(layers), MOST_LAYERS)]
        for name, layers in variants.items()
    }
    columns = max(map(len, shown.values()))
    pitch_x, pitch_y = _SMALL_PANEL[0] + 50, _SMALL_PANEL[1] + 54
    left = MARGIN + min(_NAME, math.ceil(widest(shown))) + 78
    height = HEADER + len(shown) * pitch_y + 34
    sheet = Sheet(left + columns * pitch_x + MARGIN, height, title)
    for row, (name, layers) in enumerate(shown.items()):
        top = HEADER + row * pitch_y + 20
        sheet.write(MARGIN, top + _SMALL_PANEL[1] / 2, shorten(name, _NAME))
        for column, layer in enumerate(layers):
            x = left + column * pitch_x
            axes = new_axes(sheet.figure, x, top, *_SMALL_PANEL)
            draw_histograms(axes, layer)
            if column == 0:
                axes.set_ylabel("weights (%)", size=SMALL)
            text = f"{layer.name}: std {layer.initial.std():.2g}, now {layer.trained.std():.2g}"
            sheet.write(x, top - 6, shorten(text, pitch_x - 8, SMALL), size=SMALL, color=MUTED)
    bar = matplotlib.patches.Patch(color=BLUE, alpha=0.55, label="after training")
    line = matplotlib.lines.Line2D([], [], color=VERMILLION, label="at initialization")
    sheet.figure.legend(
        handles=[bar, line], loc="lower center", ncols=2, bbox_to_anchor=(0.5, 0.0), fontsize=SMALL
    )
    return sheet.figure


@dataclass(frozen=True)
class Spread:
    """The standard deviations of each layer's outputs, before and after training."""

    layers: Sequence[str]
    initial: Sequence[float]
    trained: Sequence[float]


@styled
def draw_spread(variants: Mapping[str, Spread], title: str) -> Figure:
    """How widely each layer's outputs spread, first layer to last: one line per variant.

    Two panels, at initialization and after training, on one logarithmic scale; what is 0 or not
    finite has no point.
    """
    names = [shorten(name, 220, SMALL) for name in variants]
    left, between = 92, 26
    legend = 50 + math.ceil(widest(names, SMALL))
    width = left + 2 * _SPREAD[0] + between + legend + MARGIN
    sheet = Sheet(width, HEADER + _SPREAD[1] + 92, title)
    panels = []
    for index, heading in enumerate(("at initialization", "after training")):
        x = left + index * (_SPREAD[0] + between)
        axes = new_axes(sheet.figure, x, HEADER + 22, *_SPREAD)
        axes.set_title(heading)
        for number, (name, spread) in enumerate(zip(names, variants.values(), strict=True)):
            _draw_spread(axes, (spread.initial, spread.trained)[index], number, name)
        _finish_spread(axes, variants)
        panels.append(axes)
    limits = [limit for axes in panels for limit in axes.get_ylim()]
    for axes in panels:
        axes.set_ylim(min(limits), max(limits))
    panels[0].set_ylabel("standard deviation of outputs")
    panels[1].tick_params(axis="y", labelleft=False)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=SMALL)
    set_fonts(sheet.figure)
    return sheet.figure


def _draw_spread(axes: Axes, values: Sequence[float], number: int, name: str) -> None:
    y = np.array([v if math.isfinite(v) and v > 0 else math.nan for v in values])
    x = np.arange(1, len(y) + 1)
    axes.plot(x, y, linewidth=1.6, label=in_legend(name), **line_of(number), **marker_of(number))


def _finish_spread(axes: Axes, variants: Mapping[str, Spread]) -> None:
    set_log_scale(axes, "y")
    layers = max((spread.layers for spread in variants.values()), key=len)
    ticks = [k + 1 for k in thinned(len(layers), 5)]
    axes.set_xticks(
        ticks, [shorten(layers[k - 1], 64, SMALL, keep_end=True) for k in ticks], size=SMALL
    )
    axes.set_xlabel("layer")
    axes.margins(x=0.08)
