"""Predicted against true values, one panel per value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import line_height, set_fonts, shorten, text_width
from cnnrun.plots.drawing.scales import name_axis
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    INK,
    MARGIN,
    MUTED,
    SMALL,
    TITLE,
    VERMILLION,
    Figure,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.floating[Any]]
Headings = Sequence[tuple[str, str]]

MOST_VALUES = 9
"""Panels of a plot; of more values, the first."""

_PANEL, _LEFT, _ABOVE, _BELOW = 270, 88, 50, 52


@styled
def draw_predicted(predicted: Floats, true: Floats, headings: Headings, title: str) -> Figure:
    """One point per image: predicted over true values, with the line where both agree.

    predicted, true: (N, D). headings: D names, and the scores under them.
    """

    def draw(axes: Axes, said: Floats, wanted: Floats) -> None:
        both = np.concatenate((said, wanted))
        limits = _padded(both)
        axes.plot(limits, limits, color=VERMILLION, linewidth=1.2)
        axes.plot(wanted, said, ".", color=BLUE, markersize=_dots(len(said)), alpha=0.5)
        axes.set(xlim=limits, ylim=limits)
        name_axis(axes, "x", "true")
        name_axis(axes, "y", "predicted")

    return _panels(draw, predicted, true, headings, title, "line: predicted = true")


@styled
def draw_residuals(predicted: Floats, true: Floats, headings: Headings, title: str) -> Figure:
    """One point per image: predicted minus true over predicted values; a line is the mean.

    predicted, true: (N, D). headings: D names, and the scores under them.
    """

    def draw(axes: Axes, said: Floats, wanted: Floats) -> None:
        errors = said - wanted
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.axhline(float(errors.mean()), color=VERMILLION, linewidth=1.2, linestyle="--")
        axes.plot(said, errors, ".", color=BLUE, markersize=_dots(len(said)), alpha=0.5)
        axes.set(xlim=_padded(said))
        name_axis(axes, "x", "predicted")
        name_axis(axes, "y", "predicted - true")

    return _panels(draw, predicted, true, headings, title, "dashed: mean error")


def _panels(
    draw: Any, predicted: Floats, true: Floats, headings: Headings, title: str, note: str
) -> Figure:
    count = min(len(headings), MOST_VALUES)
    if count < len(headings):
        title += f", {count} of {len(headings)} values"
    across = min(3, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / across)
    pitch_x, pitch_y = _LEFT + _PANEL, _ABOVE + _PANEL + _BELOW
    width = max(across * pitch_x + MARGIN, text_width(title, TITLE) + 2 * MARGIN)
    sheet = Sheet(width, HEADER + rows * pitch_y + line_height(SMALL) + MARGIN, title)
    for k in range(count):
        row, column = divmod(k, across)
        left, top = _LEFT + column * pitch_x, HEADER + row * pitch_y + _ABOVE
        axes = new_axes(sheet.figure, left, top, _PANEL, _PANEL)
        finite = np.isfinite(predicted[:, k])
        if finite.any():
            draw(axes, predicted[finite, k], true[finite, k])
        name, scores = headings[k]
        sheet.write(left, top - 10 - line_height(SMALL), shorten(name, _PANEL))
        sheet.write(left, top - 10, scores, size=SMALL, color=MUTED)
    sheet.write(MARGIN, sheet.height - 14, note, size=SMALL, color=MUTED)
    set_fonts(sheet.figure)
    return sheet.figure


def _padded(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _dots(count: int) -> float:
    return 3.0 if count > 500 else 5.0
