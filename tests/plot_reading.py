"""Reading a figure back: its texts, its pixels; and the data that the plot tests draw."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from sklearn.datasets import load_digits

from cnnrun.plots import style
from cnnrun.plots.drawing.curves import draw_curves
from cnnrun.plots.style import Figure, Text, matplotlib

DIGITS = load_digits()
GRAY = (DIGITS.images[:12, None] / 16).astype(np.float32)
RGB = np.random.default_rng(0).random((5, 3, 32, 32), dtype=np.float32)
LONG = "African hunting dog, hyena dog, Cape hunting dog, Lycaon pictus"
ODD_NAMES = [LONG, "$5 bill $x_2$", "日本語の猫 кошка", "", "قطة हिन्दी ไทย\n\t\udce4"]


def drawn_texts(figure: Figure) -> list[tuple[Text, Any]]:
    """Every text that reaches the plot, with its bounding box in pixels; nothing is rendered."""
    found = []
    draw = Text.draw

    def record(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append((text, text.get_window_extent(renderer)))
        draw(text, renderer)

    with style.look(), mock.patch.object(Text, "draw", record):
        figure.draw_without_rendering()
    return found


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text, _ in drawn_texts(figure)]


def assert_readable(figure: Figure) -> list[tuple[Text, Any]]:
    """Texts are large enough, never formulas, apart from one another, wholly on the plot.

    Returns: those of `drawn_texts`.
    """
    texts = drawn_texts(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in texts:
        assert text.get_fontsize() * style.DPI / 72 >= 9, text
        assert not text.get_parse_math(), text
        assert "mathdefault" not in text.get_text(), text
        assert 0 <= box.x0 <= box.x1 <= width, text
        assert 0 <= box.y0 <= box.y1 <= height, text
    boxes = np.array([box.extents for _, box in texts])
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared -= np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    overlaps = np.argwhere(np.triu((shared > 0.5).all(2), k=1))
    assert not len(overlaps), [(texts[i][0], texts[j][0]) for i, j in overlaps[:3]]
    return texts


def rendered(figure: Figure) -> np.ndarray:
    """The plot's pixels (H, W, 3) uint8."""
    with style.look():
        figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def images_of(figure: Figure) -> list[np.ndarray]:
    """The pixels of the images on a sheet, in the order in which they were drawn."""
    pixels = rendered(figure)
    found = []
    for image in figure.axes[0].images[1::2]:  # each lies on its one-pixel frame
        box = image.get_window_extent()
        left, right = round(box.x0), round(box.x1)
        top, bottom = round(len(pixels) - box.y1), round(len(pixels) - box.y0)
        found.append(pixels[top:bottom, left:right])
    return found


def enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    """(C, H, W) float 0..1 as the (H f, W f, 3) uint8 that it should be drawn as."""
    values = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    return np.rint(values * 255).repeat(factor, axis=0).repeat(factor, axis=1)


def share_of(pixels: np.ndarray, colour: str) -> float:
    wanted = np.array(matplotlib.colors.to_rgb(colour)) * 255
    return float((abs(pixels - wanted).max(2) < 3).mean())


def luminance(gray: float) -> float:
    return gray / 12.92 if gray <= 0.04045 else ((gray + 0.055) / 1.055) ** 2.4


def counts(classes: int, mistakes: int = 20) -> np.ndarray:
    random = np.random.default_rng(classes)
    matrix = np.diag(random.integers(50, 2000, classes))
    for i, j in random.integers(0, classes, (mistakes * classes, 2)):
        matrix[i, j] += 1
    return matrix


def course(epochs: int) -> dict[str, dict[str, list[float]]]:
    falling = [2.3 / (1 + e) for e in range(epochs)]
    rising = [1 - 0.9 / (1 + e) for e in range(epochs)]
    return {
        "loss": {"train": falling, "validation": [1.1 * v for v in falling]},
        "accuracy": {"train": rising, "validation": [0.9 * v for v in rising]},
    }


def curves(count: int, lr: list[float] | None = None, **changes: Any) -> Figure:
    arguments: dict[str, Any] = {
        "epochs": list(range(1, count + 1)),
        "series": course(count),
        "lr": lr or [0.01] * count,
        "best_epoch": count,
        "title": "digits_cnn",
    }
    return draw_curves(**(arguments | changes))
