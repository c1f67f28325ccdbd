"""Groups of runs side by side: their curves over seeds, and their final scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.comparison import Comparison, Group, Result
from cnnrun.metrics import Metric, usual_monitor
from cnnrun.plots.drawing.embedding import COLOURS
from cnnrun.plots.drawing.lettering import in_legend, set_fonts, shorten, widest
from cnnrun.plots.drawing.scales import set_log_scale
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import DPI, INK, MARGIN, MUTED, SMALL, Figure, matplotlib, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 40
"""Scores of more groups would make a plot that no screen shows."""

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

MOST_CURVES = len(_MARKERS)
"""Curves of more groups could not be distinguished: seven colors, and a shape for each."""

_CURVES, _SCORES, _ROW = (470, 340), 300, (26, 56)
"""Pixels: size of the panel of curves, width of that of scores, least and most height of a row."""

_PANEL = (350, 290)
"""Pixels of a panel where two stand side by side."""

_LEFT, _BELOW, _NAME, _SAMPLE, _LINE = 88, 112, 280, 44, 17
"""Pixels: left of the curves, below both panels, longest name, sample of a line, line of text."""

Values = NDArray[np.float64]


@styled
def draw_comparison(comparison: Comparison) -> Figure:
    """Mean curves with bands of one standard deviation, and final means with 95 % intervals.

    The curves of the best seven groups, as far as all seeds of a group went; the scores of the best
    forty, best on top, each seed a point.
    """
    shown = comparison.results[:MOST_ROWS]
    texts = [r.name if r.group.name else f"{r.name}  {r.group.brief}" for r in shown]
    names = [shorten(text, _NAME, SMALL) for text in texts]
    scores_left = _LEFT + _CURVES[0] + 36 + math.ceil(widest(names, SMALL)) + _SAMPLE
    rows = len(shown) * min(max(_CURVES[1] // len(shown), _ROW[0]), _ROW[1]) + 16
    height = max(_CURVES[1], rows) + HEADER + _BELOW
    sheet = Sheet(scores_left + _SCORES + MARGIN, height, _title(comparison))
    curves = new_axes(sheet.figure, _LEFT, HEADER + 4, *_CURVES)
    groups = [result.group for result in comparison.results[:MOST_CURVES]]
    _draw_curves(curves, groups, *_logged(groups, comparison.metric))
    scores = new_axes(sheet.figure, scores_left, HEADER + 4, _SCORES, rows)
    _draw_scores(scores, shown, names, comparison)
    sheet.write(MARGIN, height - MARGIN - _LINE, _order(comparison), size=SMALL, color=MUTED)
    sheet.write(MARGIN, height - MARGIN, _caption(comparison), size=SMALL, color=MUTED)
    set_fonts(sheet.figure)
    return sheet.figure


def _title(comparison: Comparison) -> str:
    count = len(comparison.results)
    name = f"{comparison.split} {comparison.metric.display_name}"
    return f"{name} of {count} group{'s' if count != 1 else ''}"


def _order(comparison: Comparison) -> str:
    ranked_by = comparison.ranked_by
    return f"Sorted by {ranked_by.split} {ranked_by.metric.display_name}, best first."


def _caption(comparison: Comparison) -> str:
    of = f" of the best {MOST_CURVES} groups" if len(comparison.results) > MOST_CURVES else ""
    more = len(comparison.results) - MOST_ROWS
    beyond = f"; {more} more groups are not shown" if more > 0 else ""
    return (
        f"Curves{of}: mean over seeds, band ± 1 standard deviation. "
        f"Scores: one point per seed, with their mean and its 95 % interval{beyond}."
    )


def line_of(number: int) -> dict[str, Any]:
    """Seven colours and four lines: groups differ in both, also in gray."""
    if number >= MOST_CURVES:
        return {"color": MUTED, "linestyle": "-"}
    return {"color": COLOURS[number], "linestyle": _LINES[number % len(_LINES)]}


def marker_of(number: int, every: int = 1) -> dict[str, Any]:
    """A shape for each of the first seven groups, at every so many points."""
    shape = _MARKERS[number] if number < MOST_CURVES else ""
    return {"marker": shape, "markersize": 4, "markevery": (number % every, every)}


@styled
def draw_curves_of_groups(comparison: Comparison, name: str) -> Figure:
    """A metric of the training and of the validation split by epoch, a line for each group.

    Errors are on logarithmic axes where they span a decade.
    """
    shown = comparison.results[:MOST_CURVES]
    names = [shorten(result.title, _NAME, SMALL) for result in shown]
    legend = 50 + math.ceil(widest(names, SMALL))
    width = 2 * (_LEFT + _PANEL[0]) + legend + MARGIN
    sheet = Sheet(width, HEADER + _PANEL[1] + 84, f"{name} by epoch")
    for index, split in enumerate(("train", "validation")):
        left = _LEFT + index * (_LEFT + _PANEL[0])
        axes = new_axes(sheet.figure, left, HEADER + 4, *_PANEL)
        metric = shown[0].group.runs[0].metric(name)
        _draw_curves(axes, [r.group for r in shown], split, metric, names)
        values = np.concatenate([line.get_ydata() for line in axes.lines] or [np.ones(1)])
        values = values[np.isfinite(values)]
        if metric.wants_log_axis(values):
            axes.set_ylim(0.8 * values.min(), 1.25 * values.max())
            set_log_scale(axes, "y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=SMALL)
    text = "mean over seeds, band ± 1 standard deviation"
    sheet.write(MARGIN, sheet.height - 14, text, size=SMALL, color=MUTED)
    set_fonts(sheet.figure)
    return sheet.figure


def _draw_curves(
    axes: Axes, groups: Sequence[Group], split: str, metric: Metric, names: Sequence[str] = ()
) -> None:
    key = f"{split}_{metric.name}"
    for number, group in enumerate(groups):
        label = names[number] if names else ""
        _draw_curve(axes, _curves_of(group, key) * metric.scale, number, label)
    axes.set(xlabel="epoch", ylabel=f"{split} {metric.label}")
    axes.margins(x=0.03)
    # Bands may go beyond 100 %, where no score can be.
    if metric.unit == "%" and axes.get_ylim()[1] > 100:
        axes.set_ylim(top=101)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter("{x:g}")
    if not axes.lines:
        axes.text(0.5, 0.5, "not logged", color=MUTED, ha="center", transform=axes.transAxes)


def _logged(groups: Sequence[Group], metric: Metric) -> tuple[str, Metric]:
    """Split and metric in the log: of the validation split where there is one; or what chose."""
    runs = [run for group in groups for run in group.runs if run.rows]
    other = runs[0].monitor or usual_monitor(runs[0].task) if runs else metric.name
    for name in (metric.name, other):
        for split in ("validation", "train"):
            if any(f"{split}_{name}" in run.rows[0] for run in runs):
                return split, metric if name == metric.name else runs[0].metric(name)
    return "train", metric


def _curves_of(group: Group, key: str) -> Values:
    """(runs, epochs), as far as all runs went; NaN where a value was not finite."""
    logs = [[row.get(key) for row in run.rows] for run in group.runs if run.rows]
    epochs = min(map(len, logs), default=0)
    rows = [[math.nan if v is None else v for v in log[:epochs]] for log in logs]
    return np.array(rows, dtype=np.float64).reshape(len(rows), epochs)


def _draw_curve(axes: Axes, values: Values, number: int, label: str) -> None:
    if not np.isfinite(values).any():
        return
    # A run that has become NaN has no place in a mean: the curve ends there.
    mean = values.mean(axis=0)
    epochs = np.arange(1, values.shape[1] + 1)
    style = line_of(number)
    marker = marker_of(number, max(1, len(epochs) // 8))
    order = 3 + MOST_CURVES - number
    axes.plot(epochs, mean, linewidth=1.6, zorder=order, label=in_legend(label), **style, **marker)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(epochs, mean - spread, mean + spread, **band)


def _draw_scores(
    axes: Axes, results: Sequence[Result], names: Sequence[str], comparison: Comparison
) -> None:
    metric = comparison.metric
    for row, result in enumerate(results):
        _draw_score(axes, result, row, metric.scale)
    axes.set(
        yticks=range(len(results)),
        yticklabels=names,
        ylim=(len(results) - 0.4, -0.6),
        xlabel=f"{comparison.split} {metric.label}",
    )
    axes.tick_params(axis="y", length=0, pad=_SAMPLE * 72 / DPI)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:g}")
    _limit(axes, results, metric.scale)


def _draw_score(axes: Axes, result: Result, row: int, scale: int) -> None:
    style = line_of(row)
    if row < MOST_CURVES:  # what the curve of this row looks like, between its name and the axis
        ends = [-(_SAMPLE - 6) / _SCORES, -8 / _SCORES]
        sample: dict[str, Any] = {
            "transform": axes.get_yaxis_transform(),
            "clip_on": False,
            "linewidth": 1.6,
        }
        axes.plot(ends, [row, row], **style, **sample)
        middle = {**sample, "marker": _MARKERS[row], "markersize": 4, "color": style["color"]}
        axes.plot([sum(ends) / 2], [row], **middle)
    points = [scale * score for score in result.scores.values() if math.isfinite(score)]
    axes.plot(points, [row] * len(points), "o", color=style["color"], alpha=0.45, markersize=4)
    if result.interval is None:
        place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right"}
        axes.text(0.99, row, "some scores are NaN", color=MUTED, size=SMALL, va="center", **place)
        return
    mean, low, high = result.interval
    axes.plot([scale * mean], [row], "|", color=INK, markersize=11, markeredgewidth=2)
    if low is not None and high is not None:
        axes.plot([scale * low, scale * high], [row, row], color=style["color"], linewidth=1.8)


def _limit(axes: Axes, results: Sequence[Result], scale: int) -> None:
    """Keep the interval of two seeds, often 10 times their spread, from hiding all the others."""
    points = [scale * s for r in results for s in r.scores.values() if math.isfinite(s)]
    if not points:
        axes.set_xticks([])
        return
    span = max(points) - min(points)
    low, high = axes.get_xlim()
    if span > 0:
        axes.set_xlim(max(low, min(points) - 0.75 * span), min(high, max(points) + 0.75 * span))
