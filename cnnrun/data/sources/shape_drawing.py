"""How shapes are drawn: their positions, colours, and coverage of each pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Inside = Callable[[Floats, Floats], NDArray[np.bool_]]

# A pixel is the mean of this many samples per side; more is slower and looks the same.
_SAMPLES = 3
# Images drawn at a time: few enough that their grids stay in the processor's cache.
CHUNK = 16
# The least difference in luminance between a shape and its ground (0..1).
_CONTRAST = 0.3
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601


@dataclass(frozen=True)
class Ranges:
    """Where shapes lie: see the keys of the data set `shapes`."""

    position: float
    smallest: float
    largest: float
    rotation: float


@dataclass(frozen=True)
class Style:
    """How images look, whatever lies where."""

    classes: int
    size: int
    channels: int
    noise: float


def placements_of(ranges: Ranges, count: int, random: np.random.Generator) -> Floats:
    """Centre x, centre y and radius (in sides of the image), and rotation (radians): (N, 4)."""
    drawn = random.random((count, 4))
    drawn[:, :2] = 0.5 + ranges.position * (2 * drawn[:, :2] - 1)
    drawn[:, 2] = (ranges.smallest + drawn[:, 2] * (ranges.largest - ranges.smallest)) / 2
    drawn[:, 3] = np.radians(ranges.rotation) * (2 * drawn[:, 3] - 1)
    return drawn.astype(np.float32)


def colors(count: int, channels: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Colours of shape and ground that contrast, (N, C, 1, 1) each, 0..255."""
    ground = random.random((count, channels), np.float32)
    return contrasting(ground, random), 255 * ground[:, :, None, None]


def contrasting(ground: Floats, random: np.random.Generator) -> Floats:
    """Colours (N, C, 1, 1), 0..255, that contrast with `ground` (N, C), 0..1."""
    count, channels = ground.shape
    offers = random.random((count, 8, channels), np.float32)
    # If no drawn colour contrasts, black or white does.
    offers[:, -2], offers[:, -1] = 0, 1
    contrast = np.abs(_luminance(offers) - _luminance(ground)[:, None])
    chosen = np.argmax(contrast >= _CONTRAST, axis=1)
    shape: Floats = 255 * offers[np.arange(count), chosen][:, :, None, None]
    return shape


def _luminance(colors: Floats) -> Floats:
    gray: Floats = colors @ _LUMINANCE if colors.shape[-1] == 3 else colors[..., 0]
    return gray


def coverage(inside: Inside, placements: Floats, size: int) -> Floats:
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


SHAPES: dict[str, Inside] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "bar": _bar,
}
