"""Accuracy against how far the test images are rotated, scaled and shifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnrun.evaluation.invariance import UNTOUCHED, Change, Curve
from cnnrun.plots.drawing.comparison import line_of, marker_of
from cnnrun.plots.drawing.lettering import in_legend, set_fonts, shorten, widest
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import INK, MARGIN, MUTED, SMALL, Figure, matplotlib, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL, _LEFT, _BETWEEN, _BELOW = (310, 250), 78, 22, 62
"""Pixels: a panel, the room left of the first and between them, and below for the labels."""

_XLABELS: dict[Change, str] = {
    "rotation": "rotation (degrees)",
    "scale": "scale (factor)",
    "shift": "shift (% of the width)",
}


@styled
def draw_invariance(curves: Mapping[str, Sequence[Sequence[Curve]]], title: str) -> Figure:
    """A panel for each change, with a line for each name: the mean over its runs, band ± one std.

    `curves`: by name, for each run its curves of rotation, scale and shift. At most seven names.
    """
    names = list(curves)
    panels = list(next(iter(curves.values()))[0])
    legend = 30 if len(names) > 1 else 0
    width = _LEFT + len(panels) * (_PANEL[0] + _BETWEEN) + MARGIN
    sheet = Sheet(width, HEADER + _PANEL[1] + _BELOW + legend + 16, title)
    first: Axes | None = None
    for index, curve in enumerate(panels):
        left = _LEFT + index * (_PANEL[0] + _BETWEEN)
        axes = new_axes(sheet.figure, left, HEADER + 4, *_PANEL)
        for number, name in enumerate(names):
            _draw(axes, [run[index] for run in curves[name]], number, name)
        _finish(axes, curve, first)
        first = first or axes
    if legend and first:
        _legend(sheet, first, names)
    set_fonts(sheet.figure)
    return sheet.figure


def _draw(axes: Axes, runs: Sequence[Curve], number: int, name: str) -> None:
    values = 100 * np.stack([run.accuracies for run in runs])
    x = np.array(runs[0].amounts) * (100 if runs[0].change == "shift" else 1)
    mean, style = values.mean(0), line_of(number)
    axes.plot(x, mean, linewidth=1.6, label=in_legend(name), **style, **marker_of(number))
    if len(values) > 1:
        spread = values.std(0, ddof=1)
        band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(x, mean - spread, mean + spread, **band)


def _finish(axes: Axes, curve: Curve, first: Axes | None) -> None:
    axes.set(xlabel=_XLABELS[curve.change], ylim=(0, 101))
    axes.axvline(UNTOUCHED[curve.change], color=MUTED, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(7))
    if first is None:
        axes.set_ylabel("test accuracy (%)")
    else:
        axes.set_yticklabels([])


def _legend(sheet: Sheet, axes: Axes, names: Sequence[str]) -> None:
    handles, _ = axes.get_legend_handles_labels()
    room = sheet.width - 2 * MARGIN
    each = room / len(names) - 60
    columns = len(names) if widest(names, SMALL) <= each else math.ceil(len(names) / 2)
    labels = [in_legend(shorten(name, room / columns - 60, SMALL)) for name in names]
    sheet.figure.legend(
        handles,
        labels,
        loc="lower center",
        ncols=columns,
        bbox_to_anchor=(0.5, 0.0),
        labelcolor=INK,
        fontsize=SMALL,
    )
