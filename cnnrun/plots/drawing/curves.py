"""The course of a training run: loss, accuracy and learning rate by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.metrics import Metric, described, span_a_decade
from cnnrun.plots.drawing.lettering import set_fonts, shorten
from cnnrun.plots.drawing.scales import set_log_scale
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    GREEN,
    INK,
    MARGIN,
    MUTED,
    ORANGE,
    PURPLE,
    TEXT,
    VERMILLION,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

SPLIT_LINES: dict[str, tuple[str, str, str]] = {
    "train": (BLUE, "-", "o"),
    "validation": (VERMILLION, "--", "s"),
    "test": (GREEN, "-.", "^"),
}
"""Colour, line style and marker of each split: the same in every plot, distinguishable in gray."""

OTHER_LINES = ((PURPLE, ":", "D"), (ORANGE, "-.", "v"))

MANY_EPOCHS = 40
"""With more, only points without neighbours get a marker."""

_PANEL = (310, 230)
"""Width and height of a panel in pixels, without its ticks and labels."""

_LEFT, _BELOW, _LEGEND = 100, 66, 30
"""Pixels for the labels left of and below a panel, and for the legend under all."""

Values = NDArray[np.float64]


@styled
def draw_curves(
    epochs: Sequence[int],
    series: Mapping[str, Mapping[str, Sequence[float]]],
    lr: Sequence[float],
    best_epoch: int | None,
    title: str,
    metrics: Mapping[str, Metric] = {},
) -> Figure:
    """A panel for each metric and one for the learning rate, all against the epoch.

    `epochs` (E,); `series` maps a metric (`loss`, `accuracy` as a share 0..1 ...) to its splits
    (`train`, `validation` ...) of E values each, NaN where nothing was measured; `lr` E values, or
    empty for no such panel. Learning rate and errors are on a log scale when they span a decade.
    A vertical line marks `best_epoch`, unless it is None. `metrics`: what is not cnnrun's own.
    """
    x = np.asarray(epochs, dtype=np.float64)
    count = len(series) + (len(lr) > 0)
    sheet, panels = _panels(count, title)
    handles: dict[str, Artist] = {}
    for axes, (name, splits) in zip(panels, series.items(), strict=False):
        handles |= _draw_metric(axes, x, described(name, metrics), splits)
    if len(lr):
        _draw_learning_rate(panels[-1], x, _finite(lr))
    for axes in panels:
        _finish_panel(axes, x)
        if best_epoch is not None:
            line = axes.axvline(best_epoch, color=INK, linestyle=":", linewidth=1.2, zorder=1)
            handles[f"best epoch: {best_epoch}"] = line
    set_fonts(sheet.figure)
    _legend(sheet, handles)
    return sheet.figure


def _panels(count: int, title: str) -> tuple[Sheet, list[Axes]]:
    """A sheet with `count` empty panels, at most three in a row."""
    columns = min(3, count) if count != 4 else 2
    rows = math.ceil(count / columns)
    pitch_x, pitch_y = _LEFT + _PANEL[0], _PANEL[1] + _BELOW
    top = HEADER + 8
    sheet = Sheet(columns * pitch_x + 2 * MARGIN, top + rows * pitch_y + _LEGEND + 8, title)
    corners = (divmod(index, columns) for index in range(count))
    return sheet, [
        new_axes(sheet.figure, _LEFT + column * pitch_x, top + row * pitch_y, *_PANEL)
        for row, column in corners
    ]


def _draw_metric(
    axes: Axes, x: Values, metric: Metric, splits: Mapping[str, Sequence[float]]
) -> dict[str, Artist]:
    """Draw a line for each split; returns them by the split's name, for the legend."""
    others = iter(OTHER_LINES * len(splits))
    lines: dict[str, Artist] = {}
    for split, values in splits.items():
        y = _finite(values) * metric.scale
        colour, style, marker = SPLIT_LINES.get(split) or next(others)
        (lines[split],) = axes.plot(
            x, y, color=colour, linestyle=style, linewidth=1.6, **_markers(y, marker)
        )
    axes.set_ylabel(shorten(metric.label, _PANEL[1]))
    known = np.concatenate([_finite(values) for values in splits.values()])
    if metric.wants_log_axis(known):
        set_log_scale(axes, "y")
    if metric.unit == "%":
        axes.set_ylim(top=min(axes.get_ylim()[1], 101))
    return lines


def _draw_learning_rate(axes: Axes, x: Values, lr: Values) -> None:
    axes.plot(x, lr, color=INK, linewidth=1.6, **_markers(lr, "o"))
    axes.set_ylabel("learning rate")
    if span_a_decade(lr):
        set_log_scale(axes, "y")
    elif np.isfinite(lr).any():
        # From zero: a constant rate should look constant, not like noise in its last digits.
        axes.set_ylim(0, 1.1 * np.nanmax(lr) or 1)


def _finite(values: Sequence[float]) -> Values:
    """`values` with infinities replaced by NaN, a gap in the line."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _markers(y: Values, marker: str) -> dict[str, Any]:
    """A marker on each point, or where there are many only on points that no line would show."""
    known = np.pad(np.isfinite(y), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    every = range(len(y)) if len(y) <= MANY_EPOCHS else np.flatnonzero(alone)
    return {"marker": marker, "markersize": 4, "markevery": list(every)}


def _finish_panel(axes: Axes, x: Values) -> None:
    """Ticks at whole epochs, plain numbers, and a word where there is nothing to see."""
    plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
    padding = max(0.5, 0.03 * (x.max() - x.min()))
    axes.set(xlabel="epoch", xlim=(x.min() - padding, x.max() + padding))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    if axes.get_yscale() == "linear":
        axes.locator_params(axis="y", nbins=5, steps=(1, 2, 2.5, 5, 10))
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.set_yticks([])
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "no finite value", color=MUTED, size=TEXT, **middle)


def _legend(sheet: Sheet, handles: Mapping[str, Artist]) -> None:
    """One legend for all panels, under them."""
    place = (0.5, MARGIN / 2 / sheet.height)
    sheet.figure.legend(
        list(handles.values()),
        list(handles),
        loc="lower center",
        bbox_to_anchor=place,
        ncols=len(handles),
        borderaxespad=0,
        handlelength=3.2,
    )
