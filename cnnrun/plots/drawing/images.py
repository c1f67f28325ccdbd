"""Plots of images: samples, augmentations, mistakes, and one image's pixel values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import clean, percent, text_width, widest
from cnnrun.plots.drawing.sheet import (
    HEADER,
    Captions,
    Sheet,
    Tiles,
    fit_pixels,
    message,
    show_image,
)
from cnnrun.plots.style import (
    MARGIN,
    MAX_WIDTH,
    MUTED,
    RIGHT_TEXT,
    SMALL,
    TEXT,
    TITLE,
    WRONG_TEXT,
    Figure,
    new_axes,
    styled,
)

Images = NDArray[np.floating[Any]]
"""(N, C, H, W) with 1 or 3 channels, values 0..1, normalization undone."""

SIDE = 128
"""Pixels that the longest side of an image is drawn at, or nearly."""

ROOM = 150
"""Pixels for a line over an image of that size."""

LARGE = 300
"""... where there are few, for a close look."""

MIDDLE_GRAY = 117
"""Black letters contrast more than white ones on the values above (WCAG relative luminance)."""

_LEFT, _BELOW = 74, 60
"""Pixels for tick labels and axis names beside the cells of `draw_pixels`."""

MAX_PIXELS = 32
"""Rows and columns of values that `draw_pixels` has room for."""


@styled
def draw_samples(images: Images, titles: Sequence[str], suptitle: str) -> Figure:
    """A grid of images with the class name over each, or several lines.

    `images` (N, C, H, W) float 0..1, gray or RGB; `titles` N names in any script.
    """
    if len(images) == 0:
        return message("There are no images to show.", suptitle)
    above = Captions(["\n".join(map(clean, title.split("\n"))) for title in titles])
    return _grid(images, suptitle, above=above)


@styled
def draw_large(images: Images, titles: Sequence[str], suptitle: str) -> Figure:
    """Some large images of one size, (N, 3, H, W) float 0..1, with a title over each."""
    return _grid(images, suptitle, side=LARGE, above=Captions([clean(t) for t in titles]))


@styled
def draw_augmentations(
    original: Images, images: Images, captions: Sequence[str], suptitle: str
) -> Figure:
    """One image, then what the random draws made of it, each with its parameters below.

    `original` (C, H, W) and `images` (N, C, H, W) float 0..1; `captions` N texts with a line for
    each parameter.
    """
    headings = ["original", *(f"draw {number + 1}" for number in range(len(images)))]
    everything = np.concatenate([original[None], images]) if len(images) else original[None]
    below = Captions(["", *captions], colours=(MUTED,), size=SMALL)
    return _grid(everything, suptitle, above=Captions(headings), below=below)


@styled
def draw_mistakes(
    images: Images,
    captions: Sequence[str],
    true_names: Sequence[str],
    predicted_names: Sequence[str],
    confidences: Sequence[float],
    suptitle: str = "Mistakes",
) -> Figure:
    """Misclassified images: the true class, the predicted one and its probability.

    `images` (N, C, H, W) float 0..1; the rest N values each: `captions` say which images they are,
    `confidences` lie in 0..1.
    """
    if len(images) == 0:
        return message("No mistakes: every image was classified correctly.", suptitle)
    texts = [
        f"true: {clean(true)}\npredicted: {clean(predicted)}\n{percent(confidence)} sure"
        f"\n{clean(caption)}"
        for true, predicted, confidence, caption in zip(
            true_names, predicted_names, confidences, captions, strict=True
        )
    ]
    below = Captions(texts, colours=(RIGHT_TEXT, WRONG_TEXT, MUTED), size=8)
    return _grid(images, suptitle, below=below)


@styled
def draw_suspects(
    images: Images,
    captions: Sequence[str],
    labels: Sequence[str],
    suggested: Sequence[str],
    probabilities: Sequence[float],
    suptitle: str,
) -> Figure:
    """Images whose labels may be wrong: the label, the suggested class, its probability.

    `images` (N, C, H, W) float 0..1; the rest N values each: `captions` say which images they are,
    `probabilities` lie in 0..1.
    """
    if len(images) == 0:
        return message(
            "No label errors found: no image is confidently predicted as another class.", suptitle
        )
    texts = [
        f"label: {clean(label)}\nsuggested: {clean(other)}\n{percent(share)} sure\n{clean(caption)}"
        for label, other, share, caption in zip(
            labels, suggested, probabilities, captions, strict=True
        )
    ]
    below = Captions(texts, colours=(WRONG_TEXT, RIGHT_TEXT, MUTED), size=8)
    return _grid(images, suptitle, below=below)


def _grid(images: Images, title: str, side: int = SIDE, **captions: Any) -> Figure:
    size = fit_pixels(images.shape[2:], side)
    tiles = Tiles(len(images), size, title, **captions)
    for index, image in enumerate(images):
        show_image(tiles.sheet, image, *tiles.corner(index), size)
    return tiles.figure


@styled
def draw_pixels(image: NDArray[np.uint8], title: str) -> Figure:
    """One gray image (H, W) uint8, enlarged, with its values 0..255 written in the cells.

    Of more than 32 rows or columns the centre is shown, as the title then says; the ticks count
    rows and columns of the whole image.
    """
    whole = image.shape
    image, top, left = _centre(image)
    if image.shape != whole:
        title += f" (centre {_by(image.shape)} of {_by(whole)})"
    height, width = image.shape
    cell = int(np.clip(900 // max(height, width), 30, 56))
    needed = max(_LEFT + width * cell + MARGIN, text_width(title, TITLE) + 2 * MARGIN)
    sheet = Sheet(min(needed, MAX_WIDTH), HEADER + height * cell + _BELOW, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER, width * cell, height * cell)
    extent = (left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=extent)
    axes.grid(visible=False)
    axes.set(xlabel="column (pixels)", ylabel="row (pixels)")
    step = math.ceil(widest([str(max(whole))], SMALL) * 1.5 / cell)
    axes.set_xticks(range(left, left + width, step))
    axes.set_yticks(range(top, top + height, step))
    size = SMALL if cell < 40 else TEXT
    for (row, column), value in np.ndenumerate(image):
        colour = "black" if value > MIDDLE_GRAY else "white"
        place: dict[str, Any] = {"ha": "center", "va": "center", "color": colour, "size": size}
        axes.text(left + column, top + row, str(value), **place)
    return sheet.figure


def _centre(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, int]:
    """At most 32 x 32 values around the centre of `image`, and the first row and column of them."""
    top, left = (max(0, (side - MAX_PIXELS) // 2) for side in image.shape)
    return image[top : top + MAX_PIXELS, left : left + MAX_PIXELS], top, left


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
