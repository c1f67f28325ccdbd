"""Filters of a network, and the feature maps of one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import line_height, shorten, text_width
from cnnrun.plots.drawing.sheet import (
    GAP,
    HEADER,
    SPACE,
    Captions,
    Sheet,
    Tiles,
    fit_pixels,
    show_image,
)
from cnnrun.plots.style import (
    MARGIN,
    MAX_WIDTH,
    MUTED,
    SMALL,
    TEXT,
    TITLE,
    Figure,
    new_axes,
    styled,
)

Floats = NDArray[np.floating[Any]]

MOST_FILTERS = 64
"""Filters shown; the title says how many there are."""

MOST_MAPS, MAPS_IN_A_ROW = 16, 8
"""Feature maps shown of a layer, and in a row."""

_FILTER, _MAP = 72, 96
"""Pixels that the longest side of a filter and of a feature map is drawn at, or nearly."""


@styled
def draw_filters(weights: Floats, title: str) -> Figure:
    """The kernels of a convolution, numbered; at most 64, all on one scale around zero.

    `weights` (O, I, kh, kw). Three input channels are drawn as red, green and blue with zero as
    middle gray; one channel, or the mean over any other number of them, on a blue-to-red scale.
    The title says which; the line or the colour scale below states the range.
    """
    out_channels, in_channels = weights.shape[:2]
    shown = weights[:MOST_FILTERS]
    if len(shown) < out_channels:
        title += f", {len(shown)} of {out_channels} shown"
    if in_channels not in (1, 3):
        title += f", mean over {in_channels} input channels"
    size = fit_pixels(weights.shape[2:], _FILTER)
    numbers = Captions([str(index) for index in range(len(shown))], colours=(MUTED,), size=SMALL)
    tiles = Tiles(
        len(shown), size, title, above=numbers, footer=28 if in_channels == 3 else 60, narrowest=320
    )
    if in_channels == 3:
        _draw_rgb(tiles, shown)
    else:
        _draw_signed(tiles, shown.mean(1))
    return tiles.figure


def _draw_rgb(tiles: Tiles, kernels: Floats) -> None:
    limit = _largest(kernels)
    for index, kernel in enumerate(kernels):
        colours = np.nan_to_num(0.5 + 0.5 * kernel.transpose(1, 2, 0) / limit, nan=0.5)
        tiles.sheet.image(np.clip(colours, 0, 1), *tiles.corner(index), tiles.size)
    text = f"RGB: dark -{limit:.3g}, middle gray 0, bright +{limit:.3g}"
    tiles.sheet.write(MARGIN, tiles.bottom + 16, text, size=SMALL, color=MUTED)


def _draw_signed(tiles: Tiles, kernels: Floats) -> None:
    limit = _largest(kernels)
    for index, kernel in enumerate(kernels):
        drawn = tiles.sheet.image(
            kernel, *tiles.corner(index), tiles.size, cmap="RdBu_r", vmin=-limit, vmax=limit
        )
    axes = new_axes(tiles.figure, MARGIN + 24, tiles.bottom + 4, 240, 12)
    scale = tiles.figure.colorbar(drawn, cax=axes, orientation="horizontal")
    scale.set_ticks([-limit, 0, limit], labels=[f"-{limit:.3g}", "0", f"+{limit:.3g}"])
    scale.set_label("weight", size=SMALL)


def _largest(values: Floats) -> float:
    """The largest finite magnitude, or 1 where all are zero: the ends of a scale around zero."""
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max(initial=0)) or 1.0


@styled
def draw_features(
    layers: Sequence[tuple[str, Floats]], image: Floats, title: str, *, most: int = MOST_MAPS
) -> Figure:
    """An image, and below it the feature maps of each layer's first channels.

    `layers` are (name, maps (C, H, W)) in the order of the network, `image` (C, H, W) float 0..1.
    At most `most` maps a layer; all maps of a layer share one scale from blue (negative) over white
    (zero) to red (positive), which ends at the largest magnitude; its heading states the range.
    """
    image_size = fit_pixels(image.shape[1:], 128)
    sizes = [fit_pixels(maps.shape[1:], _MAP) for _, maps in layers]
    row_lengths = [min(MAPS_IN_A_ROW, len(maps)) for _, maps in layers]
    widths = [n * (size[1] + GAP) for n, size in zip(row_lengths, sizes, strict=True)]
    heights = [
        _block_height(min(len(maps), most), size)
        for (_, maps), size in zip(layers, sizes, strict=True)
    ]
    wanted = max(640, *widths, text_width(title, TITLE) + GAP, image_size[1])
    width = min(MAX_WIDTH, wanted - GAP + 2 * MARGIN)
    height = HEADER + image_size[0] + GAP + sum(heights) + line_height(SMALL) + MARGIN
    sheet = Sheet(width, height, title)
    show_image(sheet, image, MARGIN, HEADER, image_size)
    top = HEADER + image_size[0] + GAP
    for (name, maps), size, block_height in zip(layers, sizes, heights, strict=True):
        _draw_layer(sheet, name, maps, top, size, most)
        top += block_height
    note = "blue: negative, white: zero, red: positive, up to the largest magnitude of the layer"
    sheet.write(MARGIN, top + 0.75 * line_height(SMALL), note, size=SMALL, color=MUTED)
    return sheet.figure


def _block_height(maps: int, size: tuple[int, int]) -> int:
    rows = math.ceil(maps / MAPS_IN_A_ROW)
    return line_height(TEXT) + SPACE + rows * (size[0] + GAP)


def _draw_layer(
    sheet: Sheet, name: str, maps: Floats, top: float, size: tuple[int, int], most: int
) -> None:
    finite = maps[np.isfinite(maps)]
    shown, limit = maps[:most], _largest(maps)
    heading = " x ".join(str(side) for side in maps.shape)
    scale = f"values {finite.min():.3g} to {finite.max():.3g}" if finite.size else "no finite value"
    heading += f", {scale}"
    if len(shown) < len(maps):
        heading += f", first {len(shown)} of {len(maps)} maps"
    room = sheet.width - 2 * MARGIN - text_width(f":  {heading}")
    baseline = top + 0.75 * line_height(TEXT)
    sheet.write(MARGIN, baseline, f"{shorten(name, room, keep_end=True)}:  {heading}")
    for index, values in enumerate(shown):
        row, column = divmod(index, MAPS_IN_A_ROW)
        left = MARGIN + column * (size[1] + GAP)
        map_top = top + line_height(TEXT) + SPACE + row * (size[0] + GAP)
        sheet.image(values, left, map_top, size, cmap="RdBu_r", vmin=-limit, vmax=limit)
