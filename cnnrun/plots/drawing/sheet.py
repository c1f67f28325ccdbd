"""A figure addressed in pixels, and small images with their texts laid out on it in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import font_families, line_height, shorten, text_width, widest
from cnnrun.plots.style import (
    FRAME,
    INK,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    TEXT,
    TITLE,
    Figure,
    new_axes,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.image import AxesImage

GAP = 14
"""Empty pixels between neighbouring tiles."""

SPACE = 5
"""Empty pixels between an image and its captions."""

HEADER = MARGIN + line_height(TITLE) + 8
"""Pixels that the margin and the title take above everything else."""


def fit_pixels(shape: tuple[int, ...], target: int) -> tuple[int, int]:
    """(height, width) at which to draw an image of `shape` (H, W), its longest side near `target`.

    Small images grow by a whole factor, so that each of their pixels is an equal square.
    """
    height, width = shape
    longest = max(shape)
    scale = max(1, round(target / longest)) if longest < 1.5 * target else target / longest
    return max(2, round(height * scale)), max(2, round(width * scale))


class Sheet:
    """A figure with one coordinate system: pixels to the right and down from the upper left."""

    def __init__(self, width: float, height: float, title: str = "") -> None:
        self.width, self.height = math.ceil(width), math.ceil(height)
        self.figure = new_figure(self.width, self.height)
        self._axes = new_axes(self.figure, 0, 0, self.width, self.height)
        self._axes.set(xlim=(0, self.width), ylim=(self.height, 0), autoscale_on=False)
        self._axes.set_axis_off()
        if title:
            room = self.width - 2 * MARGIN
            self.write(MARGIN, HEADER - 14, shorten(title, room, TITLE), size=TITLE)

    def write(
        self, x: float, baseline: float, text: str, *, size: float = TEXT, **options: Any
    ) -> None:
        """Write one line of `text`; `options` go to `matplotlib.text.Text`, e.g. `color`, `ha`."""
        options = {"color": INK, "fontfamily": font_families(text), **options}
        self._axes.text(x, baseline, text, size=size, va="baseline", **options)

    def image(
        self,
        values: NDArray[Any],
        left: float,
        top: float,
        size: tuple[int, int],
        **colours: Any,
    ) -> AxesImage:
        """Draw `values` (H, W) or (H, W, 3) in a thin frame; `size` is (height, width) in pixels.

        `colours` (`cmap`, `vmin`, `vmax`) go to `imshow`. Pixels stay sharp when they are enlarged
        and are averaged when the image shrinks.
        """
        height, width = size
        outline = np.full((1, 1, 3), _gray(FRAME))
        self._image(outline, left - 1, top - 1, (height + 2, width + 2))
        return self._image(values, left, top, size, **colours)

    def _image(
        self, values: NDArray[Any], left: float, top: float, size: tuple[int, int], **colours: Any
    ) -> AxesImage:
        colours["cmap"] = _colormap(colours.get("cmap", "gray"))
        shrinks = values.shape[0] > size[0] or values.shape[1] > size[1]
        return self._axes.imshow(
            values,
            extent=(left, left + size[1], top + size[0], top),
            aspect="auto",
            interpolation="antialiased" if shrinks else "nearest",
            **colours,
        )


@cache
def _colormap(name: str) -> Colormap:
    """matplotlib copies one at each look-up by name, half the time of a small image."""
    return matplotlib.colormaps[name]


def show_image(
    sheet: Sheet, image: NDArray[np.floating[Any]], left: float, top: float, size: tuple[int, int]
) -> AxesImage:
    """Draw an image (C, H, W) of 1 or 3 channels in 0..1; its brightness is never stretched."""
    if image.shape[0] == 1:
        return sheet.image(image[0], left, top, size, cmap="gray", vmin=0, vmax=1)
    return sheet.image(np.clip(image.transpose(1, 2, 0), 0, 1), left, top, size)


@dataclass(frozen=True)
class Captions:
    """A text for each tile, of one or more lines; line `i` has colour `colours[i]` or the last."""

    texts: Sequence[str]
    colours: Sequence[str] = (INK,)
    size: float = TEXT

    @property
    def lines(self) -> int:
        return max((text.count("\n") + 1 for text in self.texts), default=0)

    @property
    def height(self) -> int:
        """Pixels for the lines and the space between them and the image; 0 without captions."""
        return self.lines * line_height(self.size) + SPACE if self.lines else 0

    @property
    def width(self) -> float:
        return widest((line for text in self.texts for line in text.split("\n")), self.size)


NO_CAPTIONS = Captions(())

MAX_CAPTION = 200
"""Pixels after which a caption is shortened rather than its tile widened."""


class Tiles:
    """Equal tiles in rows: captions, an image, captions. The caller draws the images."""

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        title: str,
        *,
        above: Captions = NO_CAPTIONS,
        below: Captions = NO_CAPTIONS,
        footer: int = 0,
        narrowest: int = 0,
    ) -> None:
        self.size = size
        self._above, self._below = above, below
        self._tile_width = max(size[1], min(MAX_CAPTION, math.ceil(max(above.width, below.width))))
        self._row_height = above.height + size[0] + below.height + GAP
        self._columns = self._choose_columns(count)
        rows = math.ceil(count / self._columns)
        width = self._columns * (self._tile_width + GAP) - GAP
        title_width = min(MAX_WIDTH - 2 * MARGIN, math.ceil(text_width(title, TITLE)))
        self.bottom = HEADER + rows * self._row_height
        height = self.bottom - GAP + footer + MARGIN
        self.sheet = Sheet(max(width, title_width, narrowest) + 2 * MARGIN, height, title)
        for index in range(count):
            self._caption(index)

    @property
    def figure(self) -> Figure:
        return self.sheet.figure

    def corner(self, index: int) -> tuple[float, float]:
        """(left, top) of the image of tile `index`."""
        row, column = divmod(index, self._columns)
        left = MARGIN + column * (self._tile_width + GAP) + (self._tile_width - self.size[1]) // 2
        return left, HEADER + row * self._row_height + self._above.height

    def _choose_columns(self, count: int) -> int:
        """As many as make the sheet about 3:2, and fit its greatest width; rows equally full."""
        pitch = self._tile_width + GAP
        wanted = math.ceil(math.sqrt(1.5 * count * self._row_height / pitch))
        columns = max(1, min(wanted, (MAX_WIDTH - 2 * MARGIN + GAP) // pitch))
        return math.ceil(count / math.ceil(count / columns))

    def _caption(self, index: int) -> None:
        left, top = self.corner(index)
        middle = left + self.size[1] / 2
        self._write_lines(self._above, index, middle, top - self._above.height)
        self._write_lines(self._below, index, middle, top + self.size[0] + SPACE)

    def _write_lines(self, captions: Captions, index: int, middle: float, top: float) -> None:
        if index >= len(captions.texts):
            return
        pitch = line_height(captions.size)
        for number, line in enumerate(captions.texts[index].split("\n")):
            text = shorten(line, self._tile_width, captions.size)
            colour = captions.colours[min(number, len(captions.colours) - 1)]
            baseline = top + (number + 0.75) * pitch
            self.sheet.write(middle, baseline, text, size=captions.size, color=colour, ha="center")


def message(text: str, title: str) -> Figure:
    """A small figure that says `text`, for a plot that has nothing to show."""
    room = MAX_WIDTH - 2 * MARGIN
    text = shorten(text, room)
    width = max(360, min(room, text_width(title, TITLE)), text_width(text)) + 2 * MARGIN
    sheet = Sheet(width, HEADER + 60, title)
    sheet.write(MARGIN, HEADER + 24, text, color=MUTED)
    return sheet.figure


def _gray(colour: str) -> float:
    """The gray level 0..1 of a colour like `#a6a6a6`."""
    return int(colour[1:3], 16) / 255
