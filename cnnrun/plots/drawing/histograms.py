"""The distribution of each layer's weights, now and when training started."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import line_height, shorten, text_width
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    MARGIN,
    MUTED,
    SMALL,
    TEXT,
    VERMILLION,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]

MOST_HISTOGRAMS = 16
"""Layers shown; of more, some that are evenly spaced from the first to the last."""

_MOST_BINS = 60

_PANEL, _LEFT, _ABOVE, _BELOW = (230, 130), 64, 42, 34
"""A histogram's width and height in pixels, and the room left of, over and below it."""


_FOOT = line_height(TEXT) + line_height(SMALL) + 2 * MARGIN
"""Pixels under all panels, for the legend and the note."""


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer now and when training started; equal shapes."""

    name: str
    trained: Floats
    initial: Floats

    @property
    def change(self) -> Floats:
        """How far each weight moved."""
        return self.trained - self.initial

    @property
    def moved(self) -> float:
        """The norm of the change as a fraction of the weights' norm at the start."""
        start = float(np.linalg.norm(self.initial))
        return float(np.linalg.norm(self.change)) / start if start else math.inf


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, evenly spaced, with the first and the last."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, most))})


@styled
def draw_weights(layers: Sequence[LayerWeights], title: str, change: bool = False) -> Figure:
    """A histogram for each layer: its weights as filled bars, those at initialization a line.

    At most 16 layers; the title says of how many. Both histograms of a panel have the same bins.
    change: instead of both, how far each weight moved from its start.
    """
    shown = [layers[k] for k in thinned(len(layers), MOST_HISTOGRAMS)]
    if len(shown) < len(layers):
        title += f", {len(shown)} of {len(layers)} layers"
    columns = min(4, math.ceil(math.sqrt(len(shown))))
    rows = math.ceil(len(shown) / columns)
    pitch_x, pitch_y = _LEFT + _PANEL[0], _ABOVE + _PANEL[1] + _BELOW
    width = max(columns * pitch_x + 2 * MARGIN, 600)
    sheet = Sheet(width, HEADER + rows * pitch_y + line_height(SMALL) + _FOOT, title)
    for index, layer in enumerate(shown):
        row, column = divmod(index, columns)
        left, top = _LEFT + column * pitch_x, HEADER + row * pitch_y
        axes = new_axes(sheet.figure, left, top + _ABOVE, *_PANEL)
        if change:
            _draw_histogram(axes, [layer.change])
        else:
            draw_histograms(axes, layer)
        if column == 0:
            axes.set_ylabel("weights (%)", size=SMALL)
        if index + columns >= len(shown):
            axes.set_xlabel("change" if change else "weight", size=SMALL)
        sheet.write(left, top + 14, _heading(layer))
        spread = shorten(_spread(layer), _PANEL[0] + MARGIN, SMALL)
        sheet.write(left, top + 33, spread, size=SMALL, color=MUTED)
    bar = matplotlib.patches.Patch(color=BLUE, alpha=0.55, label="now")
    line = matplotlib.lines.Line2D([], [], color=VERMILLION, label="at initialization")
    if change:
        bar.set_label("change since initialization")
    handles = [bar] if change else [bar, line]
    anchor = (0.5, (2 * MARGIN) / sheet.height)
    sheet.figure.legend(handles=handles, loc="lower center", ncols=2, bbox_to_anchor=anchor)
    note = "moved: norm of the change, in % of the norm of the initial weights"
    sheet.write(MARGIN, sheet.height - MARGIN, note, size=SMALL, color=MUTED)
    return sheet.figure


def _heading(layer: LayerWeights) -> str:
    shape = f": {' x '.join(map(str, layer.trained.shape))}"
    return shorten(layer.name, _PANEL[0] + _LEFT / 2 - text_width(shape), keep_end=True) + shape


def _spread(layer: LayerWeights) -> str:
    lost = int((~np.isfinite(layer.trained)).sum())
    if lost:
        return f"{lost:,} of {layer.trained.size:,} are NaN or infinite"
    if np.array_equal(layer.trained, layer.initial):
        return f"as initialized, std {layer.trained.std():.3g}"
    moved = f"moved {100 * layer.moved:.3g} %" if math.isfinite(layer.moved) else "from zero"
    return f"std {layer.initial.std():.2g}, now {layer.trained.std():.2g}; {moved}"


def draw_histograms(axes: Axes, layer: LayerWeights) -> None:
    """Both histograms of a layer, with the same bins."""
    _draw_histogram(axes, [layer.trained, layer.initial])


def _draw_histogram(axes: Axes, both: Sequence[Floats]) -> None:
    """Values as filled bars, and if there are two sets, the second as a line."""
    pair = [values[np.isfinite(values)].ravel() for values in both]
    everything = np.concatenate(pair)
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (0, 0)
    margin = 0.0 if high > low else max(0.5 * abs(high), 0.5)
    bins = int(np.clip(math.sqrt(everything.size), 10, _MOST_BINS))
    edges = np.linspace(low - margin, high + margin, bins + 1)
    shares = [100 * np.histogram(values, edges)[0] / max(values.size, 1) for values in pair]
    axes.stairs(shares[0], edges, fill=True, color=BLUE, alpha=0.55)
    for share in shares[1:]:
        axes.stairs(share, edges, color=VERMILLION, linewidth=1.4)
    axes.axvline(0, color=MUTED, linewidth=0.7, linestyle=":")
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.locator_params(axis="y", nbins=4)
