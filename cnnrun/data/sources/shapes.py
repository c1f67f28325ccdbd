"""Drawn shapes, shifted, scaled and rotated as configured: shows invariance without a download."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.sources.shape_drawing import (
    CHUNK,
    SHAPES,
    Floats,
    Ranges,
    Style,
    colors,
    coverage,
    placements_of,
)
from cnnrun.data.sources.shape_scenes import draw_scenes
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import LabelSets, Masks, Values
from cnnrun.registry import datasets
from cnnrun.runtime.randomness import derive_seed


def _ordered(scale: list[float]) -> list[float]:
    smallest, largest = scale
    if smallest > largest:
        raise ValueError(f"the smaller number comes first, as in [{largest:g}, {smallest:g}]")
    return scale


Count = Annotated[int, Field(ge=1, le=10_000_000)]
Offset = Annotated[float, Field(ge=0, le=0.5)]
Scale = Annotated[
    list[Annotated[float, Field(gt=0, le=2)]],
    Field(min_length=2, max_length=2),
    AfterValidator(_ordered),
]
Degrees = Annotated[float, Field(ge=0, le=180)]

Drawn = Literal["labels", "label_sets", "values", "masks"]

# The only shape without rotational symmetry.
_TURNING = "crescent"
_VALUES = ("x", "y", "sine", "cosine")


@datasets.register("shapes")
def shapes(
    *,
    targets: Drawn = "labels",
    classes: Annotated[int, Field(ge=2, le=8)] = 6,
    side: Annotated[int, Field(ge=8, le=1024)] = 32,
    train: Count = 10_000,
    test: Count = 2_000,
    position: Offset = 0.15,
    scale: Scale = [0.4, 0.7],
    rotation: Degrees = 180.0,
    test_position: Offset | None = None,
    test_scale: Scale | None = None,
    test_rotation: Degrees | None = None,
    color: bool = True,
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
    seed: int = 0,
) -> Dataset:
    """Drawn circles, squares, stars ... at random positions, sizes and angles; no download.

    Each shape lies off the centre by up to `position` (a fraction of the image's side) in each
    direction, has a diameter between the two numbers of `scale` (fractions of the side), and is
    rotated by up to `rotation` degrees either way. `test_position`, `test_scale` and
    `test_rotation` are the ranges of the test split; by default they are those of training.

    Values are where the centre of a crescent lies (x from the left, y from the top, as fractions of
    the side), and the sine and cosine of its rotation, clockwise. Label sets are of up to four
    shapes in an image, each in a quarter of it; `position` and `scale` are fractions of the
    quarter's side.

    classes: The first N of circle, square, triangle, star, cross, ring, crescent, bar.
    targets: What to predict: the shape, a crescent's position and rotation, the set of shapes, or
        each pixel's shape.
    side: Height and width in pixels.
    train: Images of the training split.
    test: Images of the test split.
    position: Largest distance from the centre, as a fraction of the side.
    scale: Smallest and largest diameter, as fractions of the side.
    rotation: Largest rotation either way, in degrees.
    test_position: The same for test images, if they are to differ from what was trained on.
    test_scale: Diameters of the shapes in test images, if they are to differ.
    test_rotation: Largest rotation in test images, if it is to differ.
    color: RGB in random colors of different luminance, or else gray.
    noise: Standard deviation of what is added to each value, as a fraction of its range.
    seed: Random seed of the images, independent of the experiment's.
    """
    trained = Ranges(position, scale[0], scale[1], rotation)
    smallest, largest = scale if test_scale is None else test_scale
    tested = Ranges(
        position if test_position is None else test_position,
        smallest,
        largest,
        rotation if test_rotation is None else test_rotation,
    )
    style = Style(classes, side, 3 if color else 1, noise)
    names = tuple(SHAPES)[:classes]
    named = {"masks": ("background", *names), "values": _VALUES}
    draw = {"labels": _draw_split, "values": _draw_turned}.get(targets, partial(_scenes, targets))
    return Dataset(
        named.get(targets, names),
        draw(style, trained, train, derive_seed(seed, "shapes train")),
        draw(style, tested, test, derive_seed(seed, "shapes test")),
    )


def _draw_split(style: Style, ranges: Ranges, count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % style.classes)
    placements = placements_of(ranges, count, random)
    images = _draw(style, labels, placements, random)
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _draw_turned(style: Style, ranges: Ranges, count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    placements = placements_of(ranges, count, random)
    kind = np.full(count, tuple(SHAPES).index(_TURNING))
    images = _draw(style, kind, placements, random)
    x, y, _, turn = placements.T
    values = np.stack((x, y, np.sin(turn), np.cos(turn)), 1)
    return Split(torch.from_numpy(images), Values(torch.from_numpy(values), placed=True))


def _scenes(targets: str, style: Style, ranges: Ranges, count: int, seed: int) -> Split:
    images, kinds, masks = draw_scenes(style, ranges, count, seed)
    held: Targets = Masks(torch.from_numpy(masks))
    if targets == "label_sets":
        there = (kinds[:, :, None] == np.arange(style.classes)).any(1)
        held = LabelSets(torch.from_numpy(there.astype(np.float32)))
    return Split(torch.from_numpy(images), held)


def _draw(
    style: Style, kinds: Any, placements: Floats, random: np.random.Generator
) -> NDArray[np.uint8]:
    """One shape per image, of the kinds (N,), on a plain ground: (N, C, H, W)."""
    count = len(kinds)
    shape, ground = colors(count, style.channels, random)
    images = np.empty((count, style.channels, style.size, style.size), np.uint8)
    for kind, inside in enumerate(SHAPES.values()):
        members = np.flatnonzero(kinds == kind)
        for first in range(0, len(members), CHUNK):
            some = members[first : first + CHUNK]
            cover = coverage(inside, placements[some], style.size)[:, None]
            values = ground[some] + cover * (shape[some] - ground[some])
            if style.noise:
                values += 255 * style.noise * random.standard_normal(values.shape, np.float32)
            images[some] = np.rint(values.clip(0, 255))
    return images
