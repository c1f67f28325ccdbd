"""The distribution of each layer's outputs, and how many are zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.histograms import thinned
from cnnrun.plots.drawing.lettering import percent, shorten, widest
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import BLUE, INK, MARGIN, MUTED, SMALL, Figure, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]

MOST_ROWS = 32
"""Layers shown; of more, some that are evenly spaced from the first to the last."""

_ROW, _BAND, _NAME, _TICK = 26, 460, 340, 56
"""Pixels: a layer's height, the width of its distribution, of its name, and between ticks."""

_WIDE = 30
"""Times that a layer's outputs may spread wider than another's on a linear scale."""


@dataclass(frozen=True)
class LayerOutputs:
    """What a layer gave: quantiles of its values, and how much of it is silent.

    quantiles: the 1, 25, 50, 75 and 99 % quantile of the finite values; NaN if there are none.
    zeros, not_finite: shares 0..1 of the values. dead: units (maps or neurons) that were zero for
    every image and at every place, of `units`.
    """

    name: str
    kind: str
    quantiles: tuple[float, float, float, float, float]
    zeros: float
    not_finite: float
    dead: int
    units: int

    @property
    def empty(self) -> bool:
        """Whether no value is finite."""
        return math.isnan(self.quantiles[0])


def summarize(name: str, kind: str, values: Floats, random: np.random.Generator) -> LayerOutputs:
    """The distribution of a layer's outputs (N, units, ...); of many, quantiles of a million.

    Outputs of transformers (N, tokens, units) have their units last.
    """
    units = values.shape[-1] if values.ndim == 3 else values.shape[1]
    silent = np.moveaxis(values == 0, -1 if values.ndim == 3 else 1, 0)
    finite = values[np.isfinite(values)]
    sample = random.choice(finite, 1_000_000) if finite.size > 1_000_000 else finite
    shares = [0.01, 0.25, 0.5, 0.75, 0.99]
    quantiles = np.quantile(sample, shares).tolist() if sample.size else [math.nan] * 5
    return LayerOutputs(
        name,
        kind,
        tuple(quantiles),
        zeros=float(silent.mean()),
        not_finite=1 - finite.size / values.size,
        dead=int(silent.reshape(units, -1).all(1).sum()),
        units=units,
    )


@styled
def draw_activations(layers: Sequence[LayerOutputs], title: str) -> Figure:
    """A row for each layer, first layer on top: where its outputs lie, and how many are zero.

    The pale band holds 98 % of the values, the dark one the middle half, the line is the median.
    All rows share one scale, symmetric-logarithmic when their widths differ widely.
    """
    shown = [layers[k] for k in thinned(len(layers), MOST_ROWS)]
    if len(shown) < len(layers):
        title += f", {len(shown)} of {len(layers)} layers"
    names = [shorten(f"{layer.name}  ({layer.kind})", _NAME, keep_end=True) for layer in shown]
    notes = [_silence(layer) for layer in shown]
    left = MARGIN + math.ceil(widest(names)) + 12
    top, height = HEADER + 22, len(shown) * _ROW
    sheet = Sheet(left + _BAND + 24 + widest(notes) + MARGIN, top + height + 86, title)
    axes = new_axes(sheet.figure, left, top, _BAND, height)
    axes.set(ylim=(len(shown) - 0.5, -0.5), yticks=[])
    for row, (layer, name, note) in enumerate(zip(shown, names, notes, strict=True)):
        _draw_band(axes, row, layer)
        baseline = top + (row + 0.5) * _ROW + 5
        sheet.write(left - 8, baseline, name, ha="right")
        bad = layer.dead or layer.not_finite
        sheet.write(left + _BAND + 14, baseline, note, color=INK if bad else MUTED)
    _set_scale(axes, shown)
    axes.set_xlabel("output")
    text = "light: middle 98 % of the values, dark: middle 50 %, line: median"
    text += "; dead: zero on all of these images"
    sheet.write(MARGIN, sheet.height - 14, text, size=SMALL, color=MUTED)
    return sheet.figure


def _silence(layer: LayerOutputs) -> str:
    parts = [f"{percent(layer.zeros)} zero"] if layer.zeros else []
    if layer.dead:
        parts.append(f"{layer.dead} of {layer.units} units dead")
    if layer.not_finite:
        parts.append(f"{100 * layer.not_finite:.3g} % NaN or infinite")
    return ", ".join(parts)


def _draw_band(axes: Axes, row: int, layer: LayerOutputs) -> None:
    if layer.empty:
        return
    low, quarter, median, three_quarters, high = layer.quantiles
    axes.barh(row, high - low, left=low, height=0.5, color=BLUE, alpha=0.3, linewidth=0)
    axes.barh(row, three_quarters - quarter, left=quarter, height=0.5, color=BLUE, linewidth=0)
    axes.plot([median, median], [row - 0.25, row + 0.25], color="white", linewidth=3)
    axes.plot([median, median], [row - 0.25, row + 0.25], color=INK, linewidth=1)


def _set_scale(axes: Axes, layers: Sequence[LayerOutputs]) -> None:
    ends = [(layer.quantiles[0], layer.quantiles[4]) for layer in layers if not layer.empty]
    widths = [high - low for low, high in ends if high > low]
    axes.xaxis.set_major_formatter("{x:.3g}")
    if not widths:
        return
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if max(widths) > _WIDE * min(widths):
        # Linear up to the narrowest layer's width, so that it is seen too.
        axes.set_xscale("symlog", linthresh=min(widths))
        axes.set_xlim(1.3 * min(low, 0), 1.3 * max(high, 0))
        axes.set_xticks(_powers(axes, min(widths), max(-low, high)), minor=False)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:.3g}")
    else:
        axes.set_xlim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _powers(axes: Axes, least: float, greatest: float) -> list[float]:
    """Zero and powers of ten on either side of it, as many as can be written side by side."""
    exponents = range(math.floor(math.log10(greatest)), math.floor(math.log10(least)), -1)
    chosen = [0.0]
    for value in (sign * 10.0**exponent for exponent in exponents for sign in (1, -1)):
        # The data's axis in pixels; what lies beyond its limits has no tick.
        places = axes.transData.transform([(x, 0) for x in [value, *chosen]])[:, 0]
        inside = axes.get_xlim()[0] <= value <= axes.get_xlim()[1]
        if inside and abs(places[1:] - places[0]).min() > _TICK:
            chosen.append(value)
    return chosen
