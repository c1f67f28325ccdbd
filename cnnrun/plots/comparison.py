"""Groups of runs side by side: their curves over seeds, and their final scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.comparing.comparison import Comparison, Group
from cnnrun.plots.embedding import COLOURS
from cnnrun.plots.lettering import set_fonts, shorten, widest
from cnnrun.plots.sheet import HEADER, Sheet
from cnnrun.plots.style import INK, MARGIN, MUTED, SMALL, Figure, matplotlib, new_axes, styled

# Curves of more groups could not be told apart.
MOST_CURVES = 7
_LINES = ("-", "--", "-.", ":")
_WIDTH, _HEIGHT, _ROW, _LEFT, _NAME = 560, 380, 26, 84, 300


@styled
def draw_comparison(comparison: Comparison) -> Figure:
    """Mean curves with bands of one standard deviation, and final means with their intervals.

    The best groups' curves, at most seven; the scores of all groups, best on top, each run a point.
    """
    groups, measure = comparison.groups, comparison.measure
    names = [shorten(group.label, _NAME, SMALL) for group in groups]
    left = _LEFT + _WIDTH + 60 + math.ceil(widest(names, SMALL))
    height = max(_HEIGHT, len(groups) * _ROW + 40)
    right = 360
    sheet = Sheet(left + right + MARGIN, HEADER + height + 56, f"{measure} of {len(groups)} groups")
    curves = new_axes(sheet.figure, _LEFT, HEADER, _WIDTH, min(height, 560))
    for number, group in enumerate(groups[:MOST_CURVES]):
        _curve(curves, group, measure, number)
    curves.set(xlabel="epoch", ylabel=f"{_split_of(groups, measure)} {measure}")
    curves.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    scores = new_axes(sheet.figure, left, HEADER, right, len(groups) * _ROW + 20)
    for row, group in enumerate(groups):
        _score(scores, group, row)
    scores.set(
        yticks=range(len(groups)), yticklabels=names, xlabel=f"final {measure} (95 % interval)"
    )
    scores.tick_params(axis="y", labelsize=SMALL)
    scores.set_ylim(len(groups) - 0.5, -0.5)
    set_fonts(sheet.figure)
    return sheet.figure


def _curve(axes: Any, group: Group, measure: str, number: int) -> None:
    rows = [_values(run.rows, measure) for run in group.runs]
    rows = [values for values in rows if len(values)]
    if not rows:
        return
    longest = max(map(len, rows))
    table = np.full((len(rows), longest), np.nan)
    for k, values in enumerate(rows):
        table[k, : len(values)] = values
    with np.errstate(invalid="ignore"):
        mean, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    epochs = np.arange(1, longest + 1)
    style = {"color": COLOURS[number % len(COLOURS)], "linestyle": _LINES[number % len(_LINES)]}
    axes.plot(epochs, mean, linewidth=1.8, marker="o" if longest == 1 else None, **style)
    axes.fill_between(epochs, mean - spread, mean + spread, color=style["color"], alpha=0.15)


def _values(rows: list[dict[str, Any]], measure: str) -> NDArray[np.float64]:
    keys = (f"validation_{measure}", f"train_{measure}")
    key = next((key for key in keys if rows and key in rows[0]), "")
    return np.array([math.nan if row.get(key) is None else row[key] for row in rows if key])


def _split_of(groups: list[Group], measure: str) -> str:
    rows = groups[0].runs[0].rows
    return "validation" if rows and f"validation_{measure}" in rows[0] else "train"


def _score(axes: Any, group: Group, row: int) -> None:
    colour = COLOURS[row % len(COLOURS)] if row < MOST_CURVES else MUTED
    points = [score for score in group.scores.values() if math.isfinite(score)]
    axes.plot(points, [row] * len(points), "o", color=colour, alpha=0.5, markersize=4)
    if group.interval is None:
        return
    mean, low, high = group.interval
    axes.plot([mean], [row], "|", color=INK, markersize=14, markeredgewidth=2)
    if low is not None and high is not None:
        line = _LINES[row % len(_LINES)] if row < MOST_CURVES else "-"
        axes.plot([low, high], [row, row], color=colour, linewidth=2, linestyle=line)
