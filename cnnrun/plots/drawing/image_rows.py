"""Rows of images that belong together column by column, and a square of images with axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import line_height, shorten, text_width, widest
from cnnrun.plots.drawing.sheet import HEADER, Sheet, fit_pixels, show_image
from cnnrun.plots.style import (
    MARGIN,
    MAX_WIDTH,
    MUTED,
    SMALL,
    TITLE,
    Figure,
    new_axes,
    styled,
)

Images = NDArray[np.floating[Any]]

_SIDE, _GAP, _LONGEST_NAME = 96, 6, 160
_LEFT, _BELOW = 74, 56


@styled
def draw_rows(
    rows: Sequence[tuple[str, Images]], titles: Sequence[str], suptitle: str, below: str = ""
) -> Figure:
    """Images in rows, each row named at its left.

    rows: (name, (N, C, H, W) float 0..1), the same N in each. titles: N texts over the columns, of
    equally many lines each, or none. below: a line under it all.
    """
    names = [shorten(name, _LONGEST_NAME) for name, _ in rows]
    count, _, height, width = rows[0][1].shape
    left = MARGIN + math.ceil(widest(names)) + 10
    room = (MAX_WIDTH - left - MARGIN) // count - _GAP
    size = fit_pixels((height, width), min(_SIDE, room))
    lines = titles[0].count("\n") + 1 if titles else 0
    top = HEADER + (lines * line_height(SMALL) + 4 if titles else 0)
    pitch = size[0] + _GAP
    total = left + count * (size[1] + _GAP) - _GAP + MARGIN
    needed = max(
        total, text_width(suptitle, TITLE) + 2 * MARGIN, text_width(below, SMALL) + 2 * MARGIN
    )
    bottom = top + len(rows) * pitch + (line_height(SMALL) + 4 if below else 0)
    sheet = Sheet(min(needed, MAX_WIDTH), bottom + MARGIN, suptitle)
    for column in range(count):
        x = left + column * (size[1] + _GAP)
        for number, line in enumerate(reversed(titles[column].split("\n")) if titles else ()):
            baseline = top - 6 - number * line_height(SMALL)
            text = shorten(line, size[1] + _GAP - 4, SMALL)
            sheet.write(x + size[1] / 2, baseline, text, size=SMALL, color=MUTED, ha="center")
        for row, (_, images) in enumerate(rows):
            show_image(sheet, images[column], x, top + row * pitch, size)
    for row, name in enumerate(names):
        sheet.write(left - 10, top + row * pitch + size[0] / 2 + 5, name, ha="right")
    if below:
        sheet.write(MARGIN, bottom, below, size=SMALL, color=MUTED)
    return sheet.figure


@styled
def draw_square(images: Images, x: Sequence[float], y: Sequence[float], title: str) -> Figure:
    """Images at the points of a square lattice of a plane.

    images: (len(y) * len(x), C, H, W) float 0..1, row by row from the greatest y to the least.
    """
    size = fit_pixels(images.shape[2:], max(16, min(64, 880 // len(x))))
    height, width = len(y) * size[0], len(x) * size[1]
    needed = max(_LEFT + width + MARGIN, text_width(title, TITLE) + 2 * MARGIN)
    sheet = Sheet(needed, HEADER + height + _BELOW, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER, width, height)
    columns = [np.concatenate(list(row), axis=2) for row in np.split(images, len(y))]
    whole = np.clip(np.concatenate(columns, axis=1).transpose(1, 2, 0), 0, 1)
    steps = [(axis[-1] - axis[0]) / max(len(axis) - 1, 1) / 2 for axis in (x, y)]
    axes.imshow(
        whole if whole.shape[2] == 3 else whole[..., 0],
        cmap="gray",
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=(x[0] - steps[0], x[-1] + steps[0], y[0] - steps[1], y[-1] + steps[1]),
    )
    axes.grid(visible=False)
    axes.set(xlabel="code, dimension 1", ylabel="code, dimension 2")
    return sheet.figure
