"""Precision over recall, a line a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import line_height, set_fonts, shorten
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import MARGIN, SMALL, Figure, matplotlib, new_axes, styled

Floats = NDArray[np.floating[Any]]

MOST_LABELS = 20
"""Lines of a plot; of more labels, those with the lowest average precision."""

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
    """A line for each label, the best one first in the legend; a dot at its threshold."""
    shown = sorted(curves, key=lambda curve: -curve.average_precision)[-MOST_LABELS:]
    if len(shown) < len(curves):
        title += f", the worst {len(shown)} of {len(curves)} labels"
    height = max(_SIDE, len(shown) * (line_height(SMALL) + 6))
    sheet = Sheet(_LEFT + _SIDE + _LEGEND + MARGIN, HEADER + height + _BELOW, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER, _SIDE, _SIDE)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(shown)))
    for curve, colour in zip(shown, colours, strict=True):
        label = f"{shorten(curve.name, _LEGEND - 90, SMALL)}  {curve.average_precision:.3f}"
        axes.plot(curve.recall, curve.precision, color=colour, linewidth=1.4, label=label)
        if curve.chosen >= 0:
            at = curve.recall[curve.chosen], curve.precision[curve.chosen]
            axes.plot(*at, "o", color=colour, markersize=5)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        fontsize=SMALL,
        title="average precision",
        title_fontsize=SMALL,
    )
    set_fonts(sheet.figure)
    return sheet.figure
