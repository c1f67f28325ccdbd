"""Drawn shapes that are moved, scaled and turned as asked: invariance shown without a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from cnnrun.data.dataset import Dataset, Split
from cnnrun.registry import datasets
from cnnrun.runtime.randomness import derive_seed

Floats = NDArray[np.float32]
Inside = Callable[[Floats, Floats], NDArray[np.bool_]]


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

# A pixel is the mean of so many samples a side; more is slower and looks the same.
_SAMPLES = 3
# Images drawn at a time: few enough that their grids stay in the processor's cache.
_CHUNK = 16
# The least difference in luminance between a shape and its ground (0..1).
_CONTRAST = 0.3
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601


@datasets.register("shapes")
def shapes(
    *,
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
    """Drawn circles, squares, triangles, stars ... in random places, sizes and turns; no download.

    Each shape lies off the centre by up to `position` (a share of the image's side) in each
    direction, has a diameter between the two numbers of `scale` (shares of the side), and is
    turned by up to `rotation` degrees either way. `test_position`, `test_scale` and
    `test_rotation` are the ranges of the test split; by default they are those of training.

    classes: The first so many of circle, square, triangle, star, cross, ring, crescent, bar.
    side: Height and width in pixels.
    train: Images of the training split.
    test: Images of the test split.
    position: Largest distance from the centre, as a fraction of the side.
    scale: Smallest and largest diameter, as fractions of the side.
    rotation: Largest turn either way, in degrees.
    test_position: The same for test images, if they are to differ from what was trained on.
    test_scale: Diameters of the shapes in test images, if they are to differ.
    test_rotation: Largest turn in test images, if it is to differ.
    color: RGB in random colors of different luminance, or else gray.
    noise: Standard deviation of what is added to each value, as a fraction of its range.
    seed: Random seed of the images, whatever the experiment's is.
    """
    trained = _Ranges(position, scale[0], scale[1], rotation)
    smallest, largest = scale if test_scale is None else test_scale
    tested = _Ranges(
        position if test_position is None else test_position,
        smallest,
        largest,
        rotation if test_rotation is None else test_rotation,
    )
    style = _Style(classes, side, 3 if color else 1, noise)
    return Dataset(
        tuple(_SHAPES)[:classes],
        _draw_split(style, trained, train, derive_seed(seed, "shapes train")),
        _draw_split(style, tested, test, derive_seed(seed, "shapes test")),
    )


@dataclass(frozen=True)
class _Ranges:
    position: float
    smallest: float
    largest: float
    rotation: float


@dataclass(frozen=True)
class _Style:
    classes: int
    size: int
    channels: int
    noise: float


def _draw_split(style: _Style, ranges: _Ranges, count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % style.classes)
    placements = _placements(ranges, count, random)
    shape, ground = _colors(count, style.channels, random)
    images = np.empty((count, style.channels, style.size, style.size), np.uint8)
    for label, inside in enumerate(list(_SHAPES.values())[: style.classes]):
        members = np.flatnonzero(labels == label)
        for first in range(0, len(members), _CHUNK):
            some = members[first : first + _CHUNK]
            cover = _coverage(inside, placements[some], style.size)[:, None]
            values = ground[some] + cover * (shape[some] - ground[some])
            if style.noise:
                values += 255 * style.noise * random.standard_normal(values.shape, np.float32)
            images[some] = np.rint(values.clip(0, 255))
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _placements(ranges: _Ranges, count: int, random: np.random.Generator) -> Floats:
    """Centre x, centre y and radius (in sides of the image), and turn (radians): (N, 4)."""
    drawn = random.random((count, 4))
    drawn[:, :2] = 0.5 + ranges.position * (2 * drawn[:, :2] - 1)
    drawn[:, 2] = (ranges.smallest + drawn[:, 2] * (ranges.largest - ranges.smallest)) / 2
    drawn[:, 3] = np.radians(ranges.rotation) * (2 * drawn[:, 3] - 1)
    return drawn.astype(np.float32)


def _colors(count: int, channels: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Colours of shape and ground that contrast, (N, C, 1, 1) each, 0..255."""
    ground = random.random((count, channels), np.float32)
    offers = random.random((count, 8, channels), np.float32)
    # One of black and white contrasts with any ground, whatever the dice offered.
    offers[:, -2], offers[:, -1] = 0, 1
    contrast = np.abs(_luminance(offers) - _luminance(ground)[:, None])
    chosen = np.argmax(contrast >= _CONTRAST, axis=1)
    shape = offers[np.arange(count), chosen]
    return 255 * shape[:, :, None, None], 255 * ground[:, :, None, None]


def _luminance(colors: Floats) -> Floats:
    gray: Floats = colors @ _LUMINANCE if colors.shape[-1] == 3 else colors[..., 0]
    return gray


def _coverage(inside: Inside, placements: Floats, size: int) -> Floats:
    """How much of each pixel the shape covers: (N, H, W) float32, 0..1."""
    samples = size * _SAMPLES
    grid = (np.arange(samples, dtype=np.float32) + 0.5) / samples
    x, y, radius, turn = placements.T[:, :, None]
    across, down = (grid - x) / radius, (grid - y) / radius
    cosine, sine = np.cos(turn), np.sin(turn)
    # The samples in the shape's own axes: y points up, and the shape has radius 1.
    u = (cosine * across)[:, None, :] + (sine * down)[:, :, None]
    v = (sine * across)[:, None, :] - (cosine * down)[:, :, None]
    hits = inside(u, v).view(np.uint8).reshape(-1, size, _SAMPLES, size, _SAMPLES)
    # Sums of slices are far quicker here than `hits.sum((2, 4))`.
    rows = sum(hits[:, :, i] for i in range(1, _SAMPLES)) + hits[:, :, 0]
    total = sum(rows[..., i] for i in range(1, _SAMPLES)) + rows[..., 0]
    cover: Floats = total.astype(np.float32) / np.float32(_SAMPLES**2)
    return cover


def _circle(u: Floats, v: Floats) -> Any:
    return u * u + v * v < 1


def _square(u: Floats, v: Floats) -> Any:
    half = np.float32(0.5**0.5)
    return (np.abs(u) < half) & (np.abs(v) < half)


def _triangle(u: Floats, v: Floats) -> Any:
    return (v > -0.5) & (np.float32(3**0.5) * np.abs(u) + v < 1)


def _star(u: Floats, v: Floats) -> Any:
    """Five points: inside at least four of the pentagram's five half-planes."""
    distance = np.float32(np.cos(np.radians(72)))
    angles = np.radians(90 + 36 + 72 * np.arange(5)).astype(np.float32)
    within = [np.cos(a) * u + np.sin(a) * v < distance for a in angles]
    return sum(side.view(np.uint8) for side in within) >= 4


def _cross(u: Floats, v: Floats) -> Any:
    across, up = np.abs(u), np.abs(v)
    return (np.minimum(across, up) < 0.3) & (np.maximum(across, up) < 0.95)


def _ring(u: Floats, v: Floats) -> Any:
    squared = u * u + v * v
    return (squared < 1) & (squared > 0.3)


def _crescent(u: Floats, v: Floats) -> Any:
    squared, shifted = u * u + v * v, u - np.float32(0.5)
    return (squared < 1) & (shifted * shifted + v * v > 0.64)


def _bar(u: Floats, v: Floats) -> Any:
    return (np.abs(u) < 0.95) & (np.abs(v) < 0.25)


_SHAPES: dict[str, Inside] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "bar": _bar,
}
