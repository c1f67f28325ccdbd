"""Many features on a plane: PCA or t-SNE, and the points coloured by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.lettering import font_families, line_height, set_fonts, shorten, text_width
from cnnrun.plots.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    GREEN,
    INK,
    MARGIN,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    SMALL,
    TEXT,
    VERMILLION,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Method = Literal["pca", "tsne"]
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, INK, "#56B4E9")
MARKERS = ("o", "^", "s", "D", "v")
"""Seven colours and five shapes have no common factor: 35 classes before a pair comes again."""

MOST_IN_LEGEND = 20
"""With more classes, the names stand at the centres of their points."""

_PLANE, _LEFT, _BELOW, _NAME = 620, 76, 58, 190
_SHORT_NAME = 84
"""Pixels after which a name is shortened: in the legend, and at the centre of a class."""


def to_plane(features: Floats, method: Method, seed: int) -> tuple[Floats, list[str]]:
    """`features` (N, D) as points (N, 2), and the labels of the two axes.

    PCA states the share of the variance that each component has. t-SNE (van der Maaten and Hinton
    2008) starts from the first two components, and sees at most 50 of them.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    most = min(2 if method == "pca" else 50, *features.shape)
    pca = PCA(most, random_state=seed)
    components = pca.fit_transform(features.astype(np.float64))
    if method == "pca":
        shares = [100 * float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]
        return components, [
            f"component {k} ({share:.1f} % of the variance)" for k, share in enumerate(shares, 1)
        ]
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    return tsne.fit_transform(components), ["t-SNE 1 (no unit)", "t-SNE 2 (no unit)"]


@styled
def draw_embedding(
    points: Floats, labels: Integers, classes: Sequence[str], axis_names: Sequence[str], title: str
) -> Figure:
    """A point for each image, its colour and shape telling the class.

    `points` (N, 2), `labels` (N,) indices into `classes`. Up to 20 classes are named in a legend;
    the names of more stand at the medians of their points, as many as there is room for.
    """
    present = [int(k) for k in np.unique(labels)]
    named = len(present) <= MOST_IN_LEGEND
    legend = _NAME + 50 if named else 0
    sheet = Sheet(_LEFT + _PLANE + legend + MARGIN, HEADER + _PLANE + _BELOW + 16, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER + 4, _PLANE, _PLANE)
    size = float(np.clip(9000 / len(points), 6, 36))
    for k in present:
        own = points[labels == k]
        style: dict[str, Any] = {
            "color": COLOURS[k % len(COLOURS)],
            "marker": MARKERS[k % len(MARKERS)],
            "label": shorten(classes[k] or "(no name)", _NAME),
        }
        axes.scatter(own[:, 0], own[:, 1], s=size, alpha=0.65, linewidths=0, **style)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    axes.margins(0.06)
    axes.locator_params(nbins=7)
    set_fonts(sheet.figure)
    if named:
        _legend(axes)
    else:
        shown = _write_centres(axes, points, labels, classes, present)
        note = f"names at the medians of {shown} of {len(present)} classes"
        sheet.write(_LEFT, sheet.height - 10, note, size=SMALL, color=MUTED)
    return sheet.figure


def _legend(axes: Axes) -> None:
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.01), handletextpad=0.2)
    for handle in legend.legend_handles:
        handle.set(alpha=1, sizes=[36])  # type: ignore[union-attr]
    for text in legend.get_texts():
        text.set_fontfamily(font_families(text.get_text()))


def _write_centres(
    axes: Axes, points: Floats, labels: Integers, classes: Sequence[str], present: Sequence[int]
) -> int:
    """Write names that touch neither one another nor the border; returns how many."""
    from matplotlib.patheffects import withStroke

    centres = np.array([np.median(points[labels == k], axis=0) for k in present])
    pixels = axes.transData.transform(centres) - axes.transAxes.transform((0, 0))
    taken: list[tuple[float, float, float, float]] = []
    for k, centre in zip(present, pixels, strict=True):
        name = shorten(classes[k] or "(no name)", _SHORT_NAME, SMALL)
        half = (text_width(name, SMALL) / 2 + 2, line_height(SMALL) / 2)
        place = _free_place(centre, half, taken)
        if place is None:
            continue
        taken.append((place[0] - half[0], place[1] - half[1], place[0] + half[0], place[1] + half[1]))
        axes.annotate(
            name,
            xy=tuple(centre / _PLANE),
            xytext=tuple(np.array(place) / _PLANE),
            xycoords="axes fraction",
            textcoords="axes fraction",
            size=SMALL,
            ha="center",
            va="center",
            fontfamily=font_families(name),
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 0}
            if math.dist(place, centre) > half[1]
            else None,
        )
    return len(taken)


def _free_place(
    centre: Floats, half: tuple[float, float], taken: Sequence[tuple[float, float, float, float]]
) -> tuple[float, float] | None:
    """The nearest place to `centre` for a box of twice `half`, or None within 60 pixels."""
    for distance in range(0, 61, 6):
        for angle in np.linspace(0, 2 * math.pi, 16, endpoint=False):
            x = float(np.clip(centre[0] + distance * math.cos(angle), half[0], _PLANE - half[0]))
            y = float(np.clip(centre[1] + distance * math.sin(angle), half[1], _PLANE - half[1]))
            if all(
                x + half[0] <= left or right <= x - half[0] or y + half[1] <= low or high <= y - half[1]
                for left, low, right, high in taken
            ):
                return x, y
    return None
