"""The confusion matrix, for 2 to thousands of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import (
    left_to_right,
    line_height,
    set_fonts,
    shorten,
    text_width,
    widest,
)
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    INK,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    SMALL,
    TEXT,
    TITLE,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Matrix = NDArray[np.integer[Any]]
"""(K, K) counts: row `i`, column `j` is how many images of class `i` were taken for class `j`."""

MOST_CELLS_WITH_TEXT = 20
"""Classes up to which the counts are written in the cells."""

MOST_DOTS = 1200
"""Pixels of the largest matrix. With more classes a dot shows the largest of a block of cells."""

_LONGEST_NAME = 150
"""Pixels after which a class name is shortened."""

MOST_PAIRS = 25
"""Lines in the list of confused pairs."""

_RECALL, _SCALE, _PAIRS = 150, 104, 400
"""Pixels right of the matrix for the bars of recall, the colour scale and the list of pairs."""

_NO_IMAGES = "#d9d9d7"
"""The row of a class without a single image."""


@styled
def draw_confusion(
    matrix: Matrix,
    class_names: Sequence[str],
    title: str = "Confusion matrix",
    normalized: bool = False,
) -> Figure:
    """The confusion matrix: true classes down, predicted ones across.

    `matrix` (K, K) counts, `class_names` K names. The colour of a cell is its share of the row, on
    a square-root scale on which rare mistakes still show; the bar next to each row is its recall.
    Up to 20 classes the cells hold their counts, or if `normalized` their shares of the row in per
    cent; with more, names are thinned out and the most confused pairs are listed next to it.
    """
    texts = _percent_texts(matrix) if normalized else matrix.astype(str)
    layout = _Layout(matrix, texts, class_names)
    title = f"{title}: {_score(matrix)}"
    width = max(layout.width, min(MAX_WIDTH, text_width(title, TITLE) + 2 * MARGIN))
    sheet = Sheet(width, layout.height, title)
    axes = new_axes(sheet.figure, layout.left, HEADER, layout.side, layout.side)
    drawn = _draw_shares(axes, matrix, layout)
    _label(axes, layout)
    _draw_recall(sheet, matrix, layout)
    _draw_scale(sheet, drawn, layout)
    if layout.crowded:
        _list_pairs(sheet, most_confused(matrix, class_names, MOST_PAIRS), layout)
    else:
        _write_texts(axes, matrix, texts, layout.size)
    set_fonts(sheet.figure)
    return sheet.figure


def most_confused(matrix: Matrix, names: Sequence[str], limit: int) -> list[tuple[str, str, int]]:
    """(true class, predicted class, count) of the `limit` most frequent mistakes, worst first.

    Pairs that never happened are left out; equal counts keep the order of the classes.
    """
    mistakes = matrix.astype(np.int64)
    np.fill_diagonal(mistakes, 0)
    rows, columns = np.nonzero(mistakes)
    counts = mistakes[rows, columns]
    worst = np.argsort(-counts, kind="stable")[:limit]
    return [(names[rows[i]], names[columns[i]], int(counts[i])) for i in worst]


class _Layout:
    """Where things lie, in pixels, for a matrix, the texts of its cells and the classes' names."""

    def __init__(self, matrix: Matrix, texts: NDArray[np.str_], class_names: Sequence[str]) -> None:
        classes = len(matrix)
        self.crowded = classes > MOST_CELLS_WITH_TEXT
        self.size = TEXT if classes <= 12 else SMALL
        self.block = math.ceil(classes / MOST_DOTS)
        self.dots = math.ceil(classes / self.block)
        self.side = self.dots * self._dot_side(texts)
        cell = self.side / (self.dots * self.block)
        self.step = _round_step(line_height(SMALL) / cell)
        self.shown = range(0, classes, self.step)
        self.names = [shorten(class_names[k], _LONGEST_NAME, self.size) for k in self.shown]
        widest_name = widest(self.names, self.size)
        self.vertical = widest_name > self.step * cell - 8
        self.note = _note(self.block, bool(np.any(matrix.sum(1) == 0)))
        axis_name = line_height(TEXT) + 12
        self.left = round(MARGIN + axis_name + widest_name)
        self.right = self.left + self.side
        below = widest_name if self.vertical else line_height(self.size)
        below += axis_name + MARGIN + (line_height(TEXT) if self.note else 0)
        self.width = self.right + _RECALL + _SCALE + (_PAIRS if self.crowded else 0) + MARGIN
        self.height = HEADER + self.side + below

    def _dot_side(self, texts: NDArray[np.str_]) -> int:
        """Pixels a dot: room for the longest text, or as many as make a large square."""
        if self.crowded:
            return max(1, round(900 / self.dots))
        longest = max(texts.flat, key=len, default="")
        room_for_text = math.ceil(text_width("0" * len(longest), self.size)) + 10
        return max(room_for_text, min(100, 640 // self.dots), math.ceil(200 / self.dots))


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... that is not below `least`."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= least:
                return factor * power
        power *= 10


def _note(block: int, empty_rows: bool) -> str:
    """A second line under the matrix, in parentheses, or nothing."""
    notes = [f"each dot is the largest of {block} x {block} cells"] if block > 1 else []
    notes += ["gray rows: no images"] if empty_rows else []
    return f"\n({'; '.join(notes)})" if notes else ""


def _score(matrix: Matrix) -> str:
    right, total = int(np.trace(matrix)), int(matrix.sum())
    share = f" ({100 * right / total:.2f} %)" if total else ""
    return f"{right:,} of {total:,} correct{share}"


def _shares(matrix: Matrix) -> NDArray[np.float32]:
    """Each row divided by its sum; NaN in rows without images."""
    shares = np.full(matrix.shape, np.nan, np.float32)
    known = matrix.sum(1) > 0
    shares[known] = matrix[known] / matrix[known].sum(1, keepdims=True)
    return shares


def _draw_shares(axes: Axes, matrix: Matrix, layout: _Layout) -> AxesImage:
    starts = np.arange(0, len(matrix), layout.block)
    dots = np.fmax.reduceat(np.fmax.reduceat(_shares(matrix), starts, axis=0), starts, axis=1)
    last = layout.dots * layout.block - 0.5
    return axes.imshow(
        np.where(dots == 0, -1, np.sqrt(dots)),
        cmap=_colours(),
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(-0.5, last, last, -0.5),
    )


def _colours() -> matplotlib.colors.Colormap:
    """From a light blue, so that a single mistake stands out from the white of none."""
    blues = matplotlib.colormaps["Blues"](np.linspace(0.25, 1, 256))
    colours = matplotlib.colors.ListedColormap(blues)
    return colours.with_extremes(under="white", bad=_NO_IMAGES)


def _label(axes: Axes, layout: _Layout) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    rotation = 90 if layout.vertical else 0
    axes.set_xticks(layout.shown, layout.names, size=layout.size, rotation=rotation)
    axes.set_yticks(layout.shown, layout.names, size=layout.size)
    thinned = "" if layout.step == 1 else f" (every {_ordinal(layout.step)} is named)"
    axes.set(xlabel=f"predicted class{thinned}{layout.note}", ylabel=f"true class{thinned}")


def _ordinal(number: int) -> str:
    return "2nd" if number == 2 else f"{number}th"


def _write_texts(axes: Axes, matrix: Matrix, texts: NDArray[np.str_], size: float) -> None:
    for (row, column), share in np.ndenumerate(_shares(matrix)):
        colour = MUTED if matrix[row, column] == 0 else "white" if share > 0.4 else INK
        centre: dict[str, Any] = {"ha": "center", "va": "center", "color": colour, "size": size}
        axes.text(column, row, texts[row, column], **centre)


def _percent_texts(matrix: Matrix) -> NDArray[np.str_]:
    """Per cent of the row; what is there, but too little to be written, is `<0.1`."""

    def text(share: float) -> str:
        if not share > 0:
            return "0" if share == 0 else "-"
        return "<0.1" if share < 0.0005 else f"{100 * share:.1f}"

    return np.array([[text(float(share)) for share in row] for row in _shares(matrix)])


def _draw_recall(sheet: Sheet, matrix: Matrix, layout: _Layout) -> None:
    """A bar next to each row: which share of the class was found."""
    left = layout.right + 14
    written = 0 if layout.crowded else 44
    axes = new_axes(sheet.figure, left, HEADER, _RECALL - 30 - written, layout.side)
    recall = 100 * _shares(matrix).diagonal()
    rows = np.arange(len(matrix))
    axes.barh(rows, np.nan_to_num(recall), height=0.7 if written else 1, color=BLUE, linewidth=0)
    axes.set(ylim=(layout.dots * layout.block - 0.5, -0.5), xlim=(0, 100), xlabel="recall (%)")
    axes.set_yticks([])
    axes.set_xticks([0, 50, 100] if not written else [0, 100])
    for row, value in enumerate(recall if written else ()):
        text = "-" if np.isnan(value) else f"{value:.1f}"
        axes.text(104, row, text, size=SMALL, va="center")


def _draw_scale(sheet: Sheet, drawn: AxesImage, layout: _Layout) -> None:
    """What the colours mean."""
    axes = new_axes(sheet.figure, layout.right + _RECALL + 20, HEADER, 18, min(layout.side, 400))
    scale = sheet.figure.colorbar(drawn, cax=axes)
    percent = (0, 1, 5, 20, 50, 100)
    labels = [">0", *(str(number) for number in percent[1:])]
    scale.set_ticks([math.sqrt(number / 100) for number in percent], labels=labels)
    scale.set_label("% of the true class")
    scale.minorticks_off()


def _list_pairs(sheet: Sheet, pairs: Sequence[tuple[str, str, int]], layout: _Layout) -> None:
    left, pitch = layout.right + _RECALL + _SCALE + 14, line_height(TEXT)
    sheet.write(left, HEADER + 12, "Most confused: count, true → predicted")
    counts = widest([f"{count:,}" for *_, count in pairs])
    room = (_PAIRS - 14 - counts - 16 - text_width(" → ")) / 2
    for line, (true, predicted, count) in enumerate(pairs, 2):
        baseline = HEADER + 12 + line * pitch
        text = left_to_right(shorten(true, room), " → ", shorten(predicted, room))
        sheet.write(left + counts, baseline, f"{count:,}", ha="right", color=MUTED)
        sheet.write(left + counts + 12, baseline, text)
    if not pairs:
        sheet.write(
            left, HEADER + 12 + 2 * pitch, "none: every image was classified correctly", color=MUTED
        )
