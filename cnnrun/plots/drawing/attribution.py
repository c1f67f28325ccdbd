"""Which parts of an image matter: saliency and Grad-CAM maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.images import Images
from cnnrun.plots.drawing.lettering import clean, line_height, percent, shorten
from cnnrun.plots.drawing.sheet import MAX_CAPTION, SPACE, Captions, Tiles, fit_pixels, show_image
from cnnrun.plots.style import (
    INK,
    MARGIN,
    MUTED,
    RIGHT_TEXT,
    SMALL,
    TEXT,
    WRONG_TEXT,
    Figure,
    matplotlib,
    styled,
)

_IMAGE, _BETWEEN = 112, 4
"""Pixels of an image's longest side, and between the three images of a tile."""

_COLOURS = "inferno"
"""From black to light yellow with steadily rising lightness: no hues need to be distinguished."""


@styled
def draw_attributions(
    images: Images,
    maps: NDArray[np.floating[Any]],
    true_names: Sequence[str] | None,
    predicted_names: Sequence[str],
    confidences: Sequence[float],
    title: str,
) -> Figure:
    """Each image, its map and the map laid over it, with the model's prediction.

    `images` (N, C, H, W) float 0..1, `maps` (N, H, W) not negative; the rest N values each,
    `confidences` in 0..1, `true_names` None if unknown. Each map is drawn from zero to
    its own greatest value.
    """
    height, width = fit_pixels(images.shape[2:], _IMAGE)
    tiles = Tiles(
        len(images),
        (height, 3 * width + 2 * _BETWEEN),
        title,
        above=Captions(_true_lines(true_names, len(images))),
        footer=line_height(SMALL) + 8,
        narrowest=620,
    )
    for index, (image, values) in enumerate(zip(images, maps, strict=True)):
        left, top = tiles.corner(index)
        colour = INK
        if true_names is not None:
            right = predicted_names[index] == true_names[index]
            colour = RIGHT_TEXT if right else WRONG_TEXT
        answer = f"predicted, {percent(confidences[index])}: {clean(predicted_names[index])}"
        tiles.sheet.write(
            left + tiles.size[1] / 2,
            top - SPACE - 0.25 * line_height(TEXT),
            shorten(answer, max(tiles.size[1], MAX_CAPTION)),
            color=colour,
            ha="center",
        )
        if not values.max() > 0:
            tiles.sheet.write(
                left + 1.5 * width + _BETWEEN, top + height / 2, "empty", color=MUTED, ha="center"
            )
        share = np.nan_to_num(values / max(float(values.max()), np.finfo(np.float32).tiny))
        step = width + _BETWEEN
        show_image(tiles.sheet, image, left, top, (height, width))
        heat = {"cmap": _COLOURS, "vmin": 0, "vmax": 1}
        tiles.sheet.image(share, left + step, top, (height, width), **heat)
        tiles.sheet.image(overlay(image, share), left + 2 * step, top, (height, width))
    text = "image, map, overlay; each map runs from 0 (black) to its own maximum (light yellow)"
    tiles.sheet.write(MARGIN, tiles.bottom + 8, text, size=SMALL, color=MUTED)
    return tiles.figure


def _true_lines(names: Sequence[str] | None, count: int) -> list[str]:
    """Captions that leave their last line to the answers."""
    return [""] * count if names is None else [f"true: {clean(name)}\n" for name in names]


def overlay(
    image: NDArray[np.floating[Any]], share: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """`image` (C, H, W) in gray, hidden by the colours of `share` (H, W) where that is high.

    Returns: (H, W, 3) float 0..1.
    """
    # Gray, so that every colour that is seen is the map's; dimmed, so that yellow shows on white.
    gray = 0.7 * image.mean(0)[:, :, None]
    colours = matplotlib.colormaps[_COLOURS](share)[:, :, :3]
    weight = 0.85 * share[:, :, None]
    mixed: NDArray[np.floating[Any]] = np.clip((1 - weight) * gray + weight * colours, 0, 1)
    return mixed
