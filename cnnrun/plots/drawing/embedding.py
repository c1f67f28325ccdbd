"""Many features on a plane: PCA or t-SNE, and the points coloured by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnrun.plots.drawing.lettering import (
    font_families,
    in_legend,
    line_height,
    set_fonts,
    shorten,
    text_width,
    widest,
)
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    INK,
    MARGIN,
    MUTED,
    PAPER,
    SMALL,
    TEXT,
    Figure,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Method = Literal["pca", "tsne"]
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

COLOURS = (
    *("#332288", "#CC6677", "#117733", "#DDAA33", "#88CCEE"),
    *("#AA4499", "#44AA99", "#882255", INK, "#999933"),
)
"""Ten for colour-blind readers (Tol 2021, `muted`, with sand darkened for paper)."""

MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", "*", ">", "p")
"""Ten colours and eleven shapes: the first ten classes share neither, 110 not both."""

MOST_IN_LEGEND = 20
"""With more classes, the names at the centres of their points must do."""

_PLANE, _LARGE_PLANE, _LEFT, _BELOW, _NAME = 620, 900, 112, 58, 190
_MARKER = 4
"""Pixels from the middle of a point that a name keeps free."""

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
    """A point for each image; its colour and shape show the class.

    `points` (N, 2), `labels` (N,) indices into `classes`. Names stand at the medians of their
    points, as many as there is room for; up to 20 classes are also named in a legend.
    """
    present = [int(k) for k in np.unique(labels)]
    named = len(present) <= MOST_IN_LEGEND
    room = (_NAME, TEXT) if named else (_SHORT_NAME, SMALL)
    names = [shorten(classes[k] or "(no name)", *room) for k in present]
    side = _PLANE if named else _LARGE_PLANE
    legend = math.ceil(widest(names)) + 50 if named else 0
    sheet = Sheet(_LEFT + side + legend + MARGIN, HEADER + side + _BELOW + 16, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER + 4, side, side)
    size = float(np.clip(9000 / len(points), 6, 36))
    for k in present:
        own = points[labels == k]
        style: dict[str, Any] = {
            "color": COLOURS[k % len(COLOURS)],
            "marker": MARKERS[k % len(MARKERS)],
        }
        axes.scatter(own[:, 0], own[:, 1], s=size, alpha=0.65, linewidths=0, **style)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    axes.margins(0.06)
    axes.set_aspect("equal", adjustable="datalim")  # a distance is one in every direction
    axes.locator_params(nbins=7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.3g}")  # no power of ten set apart, beside the title
    set_fonts(sheet.figure)
    axes.apply_aspect()
    centres = np.array([np.median(points[labels == k], axis=0) for k in present])
    short = [shorten(name, _SHORT_NAME, SMALL) for name in names]
    shown = _write_names(axes, points, centres, short, side)
    if named:
        _legend(axes, names)
    else:
        note = f"names at the medians of {shown} of {len(present)} classes"
        sheet.write(_LEFT, sheet.height - 10, note, size=SMALL, color=MUTED)
    return sheet.figure


def _legend(axes: Axes, names: Sequence[str]) -> None:
    handles = axes.collections
    labels = [in_legend(name) for name in names]
    legend = axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.01), handletextpad=0.2
    )
    for handle, text, name in zip(legend.legend_handles, legend.get_texts(), names, strict=True):
        handle.set(alpha=1, sizes=[36])  # type: ignore[union-attr]
        text.set_fontfamily(font_families(name))


def _write_names(
    axes: Axes, points: Floats, centres: Floats, names: Sequence[str], side: int
) -> int:
    """Write each name near its centre, where it touches no other; returns how many found room.

    Where points lie so far apart that each is seen, a name covers none.
    """
    from matplotlib.patheffects import withStroke

    corner = axes.transAxes.transform((0, 0))
    spots = axes.transData.transform(points) - corner
    boxes: list[_Box] = []
    for centre, name in zip(axes.transData.transform(centres) - corner, names, strict=True):
        half = text_width(name, SMALL) / 2 + 2, line_height(SMALL) / 2
        box = _free_box(centre, half, side, boxes, 18, spots)
        box = box or _free_box(centre, half, side, boxes, 48)
        if box is None:
            continue
        boxes.append(box)
        if math.dist((box.x, box.y), centre) > 2 * box.half_height:
            # The name stands beside its place: a thin line leads there.
            line = np.array([centre, (box.x, box.y)]).T / side
            axes.plot(*line, transform=axes.transAxes, color=INK, linewidth=0.7)
        place: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        halo = [withStroke(linewidth=2.5, foreground=PAPER)]
        fonts = font_families(name)
        x, y = box.x / side, box.y / side
        axes.text(x, y, name, size=SMALL, fontfamily=fonts, path_effects=halo, **place)
    return len(boxes)


class _Box(NamedTuple):
    """Middle and half the sides of a text, in pixels from the plane's lower left corner."""

    x: float
    y: float
    half_width: float
    half_height: float

    def covers(self, points: Floats) -> bool:
        """Whether any of the points (N, 2) lies under the text."""
        reach = self.half_width + _MARKER, self.half_height + _MARKER
        return bool((np.abs(points - (self.x, self.y)) < reach).all(1).any())

    def overlaps(self, other: _Box) -> bool:
        return (
            abs(self.x - other.x) < self.half_width + other.half_width
            and abs(self.y - other.y) < self.half_height + other.half_height
        )


def _free_box(
    centre: Floats,
    half: tuple[float, float],
    side: int,
    taken: Sequence[_Box],
    reach: int,
    points: Floats | None = None,
) -> _Box | None:
    """The box nearest to `centre` that is free and on the plane, or None within `reach` pixels.

    points: (N, 2), which it shall not cover.
    """
    if points is not None:
        points = points[(np.abs(points - centre) < reach + half[0] + _MARKER).all(1)]
    for distance in range(0, reach + 1, 6):
        for angle in np.linspace(0, 2 * math.pi, 16, endpoint=False):
            x = centre[0] + distance * math.cos(angle)
            y = centre[1] + distance * math.sin(angle)
            box = _Box(
                float(np.clip(x, half[0], side - half[0])),
                float(np.clip(y, half[1], side - half[1])),
                *half,
            )
            if any(box.overlaps(other) for other in taken):
                continue
            if points is None or not box.covers(points):
                return box
    return None
