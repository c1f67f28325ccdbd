"""The report on a data set as one plot: classes, pixels, sizes, and copies to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.data.inspection.text import warnings
from cnnrun.plots.drawing.curves import SPLIT_LINES
from cnnrun.plots.drawing.lettering import line_height, set_fonts, shorten, widest
from cnnrun.plots.drawing.sheet import GAP, HEADER, Sheet, fit_pixels, show_image
from cnnrun.plots.style import (
    BLUE,
    GREEN,
    MARGIN,
    MUTED,
    ORANGE,
    SMALL,
    TEXT,
    VERMILLION,
    WRONG_TEXT,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_WIDTH = 1000
_LEFT = 92
_BARS = (_WIDTH - _LEFT - MARGIN, 220)
"""Width and height in pixels of the bars of the classes."""

_LONGEST_NAME = 150
"""Pixels after which a class name is shortened."""

_HISTOGRAM = 170
_HEADING, _BELOW = 28, 62
"""Pixels for the line over a panel, and for the ticks and the name of the axis below it."""

_MOST_NAMED = 150
"""Classes; more are drawn by size, without names."""

_MOST_WARNINGS, _MOST_PAIRS, _MOST_SIZES = 6, 8, 6

_IMAGE = 96
"""Pixels of the longest side of an image that occurs twice."""

_NO_PAIRS = np.empty((0, 2, 1, 1, 1), np.float32)


@styled
def draw_data_report(
    report: dict[str, Any],
    pairs: NDArray[np.floating[Any]] = _NO_PAIRS,
    captions: Sequence[str] = (),
    title: str = "Data set",
) -> Figure:
    """Warnings, bars of the classes, the pixels' histogram, the files' sizes, and copies.

    `report` is what `cnnrun.data.inspection.report.report` returns; `pairs` (P, 2, C, H, W) float
    0..1 and `captions`, P of two lines, are those of `example_pairs`; at most 8 are drawn.
    """
    pairs = pairs[:_MOST_PAIRS]
    lines = warnings(report)[:_MOST_WARNINGS]
    ticks = _ClassTicks(report["classes"])
    tiles = _PairTiles(pairs)
    bars_top = HEADER + len(lines) * line_height(TEXT) + _HEADING + (8 if lines else 0)
    histogram_top = bars_top + _BARS[1] + ticks.room + _HEADING
    pairs_top = histogram_top + _HISTOGRAM + _BELOW
    sheet = Sheet(_WIDTH, pairs_top + tiles.height, title)
    _write_warnings(sheet, lines)
    _draw_classes(sheet, report, ticks, bars_top)
    _draw_histogram(sheet, report, histogram_top)
    _draw_sizes(sheet, report, histogram_top)
    set_fonts(sheet.figure)
    tiles.draw(sheet, pairs, captions, pairs_top)
    return sheet.figure


def _write_warnings(sheet: Sheet, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        baseline = HEADER + (number + 0.6) * line_height(TEXT)
        line = shorten(line, sheet.width - 2 * MARGIN)
        sheet.write(MARGIN, baseline, line, color=WRONG_TEXT)


class _ClassTicks:
    """Which classes are named under their bars, and how; of many, only their ranks are written."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.many = len(classes) > _MOST_NAMED
        pitch = _BARS[0] / len(classes)
        self.at = range(0, len(classes), math.ceil(line_height(SMALL) / pitch))
        names = [] if self.many else [shorten(classes[k], _LONGEST_NAME, SMALL) for k in self.at]
        self.names = names
        width = widest(names, SMALL)
        self.vertical = width > self.at.step * pitch - 8
        below = math.ceil(width) if self.vertical else line_height(SMALL)
        self.room = (_BELOW if self.many else below + 12) + 10


def _draw_classes(sheet: Sheet, report: dict[str, Any], ticks: _ClassTicks, top: int) -> None:
    """A bar for each class, of its images in each split one on top of the other."""
    axes = new_axes(sheet.figure, _LEFT, top, *_BARS)
    counts = {split: np.asarray(of_split) for split, of_split in report["counts"].items()}
    classes = np.arange(len(counts["train"]))
    order = np.argsort(-counts["train"], kind="stable") if ticks.many else classes
    base = np.zeros(len(classes))
    for split in (split for split in SPLIT_LINES if split in counts):
        label = f"{split} ({report['totals'][split]:,})"
        upper = base + counts[split][order]
        bar: dict[str, Any] = {"label": label, "color": SPLIT_LINES[split][0], "linewidth": 0}
        if ticks.many:
            axes.fill_between(classes, base, upper, step="mid", **bar)
        else:
            axes.bar(classes, upper - base, 0.8, base, **bar)
        base = upper
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(0, 1.05 * base.max()), ylabel="images")
    axes.grid(visible=False, axis="x")
    if ticks.many:
        axes.set_xlabel(f"{len(classes):,} classes, by number of training images")
    else:
        axes.set_xticks(ticks.at, ticks.names, rotation=90 if ticks.vertical else 0)
    axes.tick_params(axis="x", length=2)
    _whole_numbers(axes.yaxis)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Over the panel, where it covers nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=4, handlelength=1
        )


def _whole_numbers(axis: Axis) -> None:
    axis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True, min_n_ticks=1))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_histogram(sheet: Sheet, report: dict[str, Any], top: int) -> None:
    """How often each value occurs in the training split, a line for each channel."""
    pixels = report["pixels"]
    counts = np.asarray(pixels["histogram"], dtype=np.float64)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    width = 390 if _sizes_differ(report) else _BARS[0]
    axes = new_axes(sheet.figure, _LEFT, top, width, _HISTOGRAM)
    names = ("gray",) if len(shares) == 1 else ("red", "green", "blue")
    colours = (MUTED,) if len(shares) == 1 else (VERMILLION, GREEN, BLUE)
    styles = ("-", "--", "-.")
    for share, name, colour, style, mean, std in zip(
        shares, names, colours, styles, pixels["mean"], pixels["std"], strict=False
    ):
        label = f"{name} {mean:.3f} ± {std:.3f}"
        axes.plot(share, color=colour, linestyle=style, linewidth=1.2, label=label)
    # One value (a black background) may be more frequent than all others together.
    highest = 1.05 * shares.max()
    typical = 3 * np.quantile(shares, 0.98) or highest
    cut = "; the highest peaks are clipped" if typical < highest else ""
    axes.set(xlim=(-2, 257), ylim=(0, min(highest, typical)), ylabel="pixels (%)")
    axes.set_xlabel(f"training pixels, mean ± std in 0..1{cut}")
    axes.set_xticks([0, 64, 128, 192, 255])
    _legend(axes)


def _draw_sizes(sheet: Sheet, report: dict[str, Any], top: int) -> None:
    """The most frequent sizes of the files, where these differ."""
    if not _sizes_differ(report):
        return
    sizes = report["files"]["sizes"]
    shown = sorted(sizes.items(), key=lambda item: -item[1])[:_MOST_SIZES]
    rest = sum(sizes.values()) - sum(count for _, count in shown)
    shown += [(f"{len(sizes) - len(shown):,} other sizes", rest)] if rest else []
    left = 660
    axes = new_axes(sheet.figure, left, top, sheet.width - left - MARGIN - 12, _HISTOGRAM)
    axes.barh(range(len(shown)), [count for _, count in shown], color=ORANGE, height=0.7)
    axes.set_yticks(range(len(shown)), [size for size, _ in shown])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="files per size (height x width)")
    _whole_numbers(axes.xaxis)


def _sizes_differ(report: dict[str, Any]) -> bool:
    return report["files"] is not None and len(report["files"]["sizes"]) > 1


class _PairTiles:
    """Pairs of images side by side, their captions below."""

    def __init__(self, pairs: NDArray[np.floating[Any]]) -> None:
        self.size = fit_pixels(pairs.shape[3:], _IMAGE)
        self._width = max(2 * self.size[1] + 4, 160)
        self._columns = max(1, (_WIDTH - 2 * MARGIN + GAP) // (self._width + GAP))
        self._pitch = self.size[0] + 2 * line_height(SMALL) + GAP + 4
        rows = math.ceil(len(pairs) / self._columns)
        self.height = _HEADING + rows * self._pitch if rows else 0

    def draw(
        self,
        sheet: Sheet,
        pairs: NDArray[np.floating[Any]],
        captions: Sequence[str],
        top: int,
    ) -> None:
        if len(pairs):
            sheet.write(MARGIN, top + 12, "duplicates and near duplicates")
        for index, (pair, caption) in enumerate(zip(pairs, captions, strict=False)):
            row, column = divmod(index, self._columns)
            left = MARGIN + column * (self._width + GAP)
            y = top + _HEADING + row * self._pitch
            for side, image in enumerate(pair):
                show_image(sheet, image, left + side * (self.size[1] + 4), y, self.size)
            for number, line in enumerate(caption.split("\n")):
                baseline = y + self.size[0] + (number + 0.9) * line_height(SMALL)
                line = shorten(line, self._width, SMALL)
                sheet.write(left, baseline, line, size=SMALL, color=MUTED)
