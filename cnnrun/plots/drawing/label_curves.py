"""Precision over recall, a line a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.comparison import MOST_CURVES, line_of, marker_of
from cnnrun.plots.drawing.lettering import in_legend, set_fonts, shorten
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import INK, MARGIN, SMALL, Figure, new_axes, styled

Floats = NDArray[np.floating[Any]]

_SIDE, _LEFT, _BELOW, _LEGEND = 440, 78, 56, 300


@dataclass(frozen=True)
class Curve:
    """A label's precision and recall (T,), the highest threshold first.

    chosen: the index of the last threshold from which on it is said to be there; -1 for none.
    """

    name: str
    precision: Floats
    recall: Floats
    chosen: int
    average_precision: float


@styled
def draw_label_curves(curves: Sequence[Curve], title: str) -> Figure:
    """A line for each label, the best one first in the legend; a ring at its threshold.

    Of more than seven labels, those with the lowest average precision.
    """
    shown = sorted(curves, key=lambda curve: -curve.average_precision)[-MOST_CURVES:]
    if len(shown) < len(curves):
        title += f", the worst {len(shown)} of {len(curves)} labels"
    sheet = Sheet(_LEFT + _SIDE + _LEGEND + MARGIN, HEADER + _SIDE + _BELOW, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER, _SIDE, _SIDE)
    for number, curve in enumerate(shown):
        label = f"{shorten(curve.name, _LEGEND - 90, SMALL)}  {curve.average_precision:.3f}"
        recall, precision = 100 * curve.recall, 100 * curve.precision
        style = {**line_of(number), **marker_of(number), "markevery": (0.02 * number, 0.15)}
        axes.plot(recall, precision, linewidth=1.6, label=in_legend(label), **style)
        if curve.chosen >= 0:
            at = recall[curve.chosen], precision[curve.chosen]
            axes.plot(*at, "o", color=style["color"], fillstyle="none", markersize=11)
    # In the legend alone: what a ring is.
    axes.plot([], [], "o", color=INK, fillstyle="none", markersize=9, label="chosen threshold")
    axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="recall (%)", ylabel="precision (%)")
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        fontsize=SMALL,
        title="average precision",
        title_fontsize=SMALL,
    )
    set_fonts(sheet.figure)
    return sheet.figure
