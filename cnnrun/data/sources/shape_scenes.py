"""Images of up to four shapes, each in its own quarter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnnrun.data.sources.shape_drawing import (
    CHUNK,
    SHAPES,
    Ranges,
    Style,
    contrasting,
    coverage,
    placements_of,
)

_QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))
# How often a quarter holds a shape.
_OFTEN = 0.6


def draw_scenes(
    style: Style, ranges: Ranges, count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    """Images (N, C, H, W), the kind of shape in each quarter (N, 4) or -1, and masks (N, H, W).

    A mask's pixel is 0 for the ground and k + 1 where more than half of it is of a shape of kind k.
    """
    random = np.random.default_rng(seed)
    kinds = random.integers(0, style.classes, (count, 4))
    kinds[random.random((count, 4)) >= _OFTEN] = -1
    ground = random.random((count, style.channels), np.float32)
    images = np.empty((count, style.channels, style.size, style.size), np.float32)
    images[:] = 255 * ground[:, :, None, None]
    masks = np.zeros((count, style.size, style.size), np.uint8)
    half = style.size // 2
    for quarter, (row, column) in enumerate(_QUARTERS):
        rows, columns = (slice(half * k, half * (k + 1)) for k in (row, column))
        placements, shape = placements_of(ranges, count, random), contrasting(ground, random)
        for kind, inside in enumerate(list(SHAPES.values())[: style.classes]):
            members = np.flatnonzero(kinds[:, quarter] == kind)
            for first in range(0, len(members), CHUNK):
                some = members[first : first + CHUNK]
                cover = coverage(inside, placements[some], half)
                part = images[some, :, rows, columns]
                images[some, :, rows, columns] = part + cover[:, None] * (shape[some] - part)
                masks[some, rows, columns] = (cover > 0.5) * np.uint8(kind + 1)
    if style.noise:
        images += 255 * style.noise * random.standard_normal(images.shape, np.float32)
    return np.rint(images.clip(0, 255)).astype(np.uint8), kinds, masks
