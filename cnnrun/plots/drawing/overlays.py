"""Images with the classes of their pixels over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.data.targets import IGNORED
from cnnrun.plots.drawing.lettering import line_height, shorten, text_width
from cnnrun.plots.drawing.sheet import HEADER, Sheet, fit_pixels, show_image
from cnnrun.plots.style import MARGIN, MAX_WIDTH, MUTED, SMALL, TEXT, TITLE, Figure, styled

Images = NDArray[np.floating[Any]]
Masks = NDArray[np.integer[Any]]

_IMAGE, _GAP, _NAME, _SWATCH = 120, 6, 84, 14
_OPACITY = 0.8
# Red, green and blue in what the eye takes for brightness (ITU-R BT.709).
_LUMINANCE = (0.2126, 0.7152, 0.0722)
_PALE = np.full(3, 0.85)
# Of classes 1, 2, ...: Okabe and Ito's colours, then the same again, lighter.
_COLOURS = ("#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#7F3C8D")


@styled
def draw_overlays(
    images: Images,
    true: Masks,
    said: Masks,
    names: Sequence[str],
    captions: Sequence[str],
    title: str,
) -> Figure:
    """Three rows: the images, and over them, in gray, the true and the predicted classes.

    images: (N, C, H, W) float 0..1. true, said: (N, H, W), 0..K-1, or 255 where nothing is known.
    captions: N texts under the columns. Class 0 is left gray.
    """
    colours = class_colours(len(names))
    count, _, height, width = images.shape
    room = (MAX_WIDTH - _NAME - 2 * MARGIN) // count - _GAP
    size = fit_pixels((height, width), max(24, min(_IMAGE, room)))
    total = max(_NAME + count * (size[1] + _GAP) + 2 * MARGIN, text_width(title, TITLE) + 60, 520)
    swatches = [(name, colours[k] if k else _PALE) for k, name in enumerate(names)]
    swatches += [("unlabeled", np.zeros(3))] if (true == IGNORED).any() else []
    legend = _legend_rows([name for name, _ in swatches], total - 2 * MARGIN)
    body = 3 * (size[0] + _GAP) + line_height(SMALL) + 8
    pitch = line_height(TEXT) + 6
    sheet = Sheet(total, HEADER + body + len(legend) * pitch + MARGIN, title)
    rgb = np.repeat(images, 3, 1) if images.shape[1] == 1 else images
    rows = [("image", rgb)]
    gray = np.repeat(np.tensordot(rgb, _LUMINANCE, (1, 0))[:, None], 3, 1)
    rows += [(name, over(gray, m, colours)) for name, m in (("true", true), ("predicted", said))]
    for row, (name, shown) in enumerate(rows):
        top = HEADER + row * (size[0] + _GAP)
        sheet.write(MARGIN, top + size[0] / 2 + 5, name)
        for column in range(count):
            show_image(sheet, shown[column], MARGIN + _NAME + column * (size[1] + _GAP), top, size)
    for column, caption in enumerate(captions):
        middle = MARGIN + _NAME + column * (size[1] + _GAP) + size[1] / 2
        baseline = HEADER + 3 * (size[0] + _GAP) + line_height(SMALL) - 4
        sheet.write(middle, baseline, caption, size=SMALL, color=MUTED, ha="center")
    for line, entries in enumerate(legend):
        for left, k in entries:
            top = HEADER + body + line * pitch
            name, colour = swatches[k]
            swatch = np.broadcast_to(colour.reshape(3, 1, 1), (3, 2, 2))
            show_image(sheet, swatch, MARGIN + left, top, (_SWATCH, _SWATCH))
            sheet.write(MARGIN + left + _SWATCH + 6, top + 12, shorten(name, 160))
    return sheet.figure


def class_colours(count: int) -> NDArray[np.float64]:
    """A colour for each class, (K, 3) 0..1; that of class 0, the background, is not used."""
    base = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in _COLOURS])
    made = [np.zeros(3)]
    for k in range(count - 1):
        lighter = 0.45 * (k // len(base)) / max(1, math.ceil(count / len(base)))
        made.append(base[k % len(base)] * (1 - lighter) + lighter)
    return np.array(made)


def over(images: Images, masks: Masks, colours: NDArray[np.float64]) -> Images:
    """Images (N, 3, H, W) with the colours of their pixels' classes; unlabeled ones are black."""
    table = np.zeros((256, 3))
    table[: len(colours)] = colours
    painted = np.moveaxis(table[masks], 3, 1)
    opacity = np.where(masks == 0, 0.0, _OPACITY)[:, None]
    return np.asarray(images * (1 - opacity) + painted * opacity, dtype=np.float32)


def _legend_rows(names: Sequence[str], width: float) -> list[list[tuple[float, int]]]:
    """Rows of (left, class) that fit the width."""
    rows: list[list[tuple[float, int]]] = [[]]
    left = 0.0
    for k, name in enumerate(names):
        needed = _SWATCH + 6 + text_width(shorten(name, 160)) + 18
        if left + needed > width and rows[-1]:
            rows.append([])
            left = 0.0
        rows[-1].append((left, k))
        left += needed
    return rows
