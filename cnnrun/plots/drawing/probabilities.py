"""How well a classifier's probabilities are calibrated, and the effect of thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnnrun.components.tasks.metrics import Calibration
from cnnrun.evaluation.ranking_curves import Ranking
from cnnrun.metrics import AUROC, ECE
from cnnrun.plots.drawing.comparison import MOST_CURVES, line_of, marker_of
from cnnrun.plots.drawing.lettering import in_legend, set_fonts, shorten, widest
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    INK,
    MARGIN,
    MUTED,
    SMALL,
    VERMILLION,
    Figure,
    matplotlib,
    new_axes,
    styled,
)

Floats = NDArray[np.float64]
Kind = Literal["precision_recall", "roc"]

_SIDE, _COUNTS, _LEFT, _BELOW = 440, 110, 84, 58
"""Pixels: the square of a diagram, the height of the histogram, left of and below the axes."""

_NAME, _MOST_POINTS = 260, 1000

_RING: dict[str, Any] = {
    "marker": "o",
    "linestyle": "none",
    "fillstyle": "none",
    "markersize": 11,
    "zorder": 20,
    "clip_on": False,
}
_AREAS: dict[Kind, str] = {"precision_recall": "average precision", "roc": AUROC.display_name}


@styled
def draw_calibration(found: Calibration, title: str) -> Figure:
    """A reliability diagram: the accuracy of answers against the confidence they were given with.

    Bars are what was right, hatched what lies between that and the confidence; below them, how
    many answers each bin has.
    """
    edges = np.linspace(0, 100, len(found.counts) + 1)
    width = 100 / len(found.counts)
    middles = edges[:-1] + width / 2
    sheet = Sheet(
        _LEFT + _SIDE + 160 + MARGIN, HEADER + _SIDE + 34 + _COUNTS + _BELOW + MARGIN, title
    )
    axes = new_axes(sheet.figure, _LEFT, HEADER + 4, _SIDE, _SIDE)
    known = found.counts > 0
    accuracy, confidence = (
        100 * sums[known] / found.counts[known] for sums in (found.correct, found.confidence)
    )
    axes.bar(middles[known], accuracy, width, color=BLUE, edgecolor="white", label="accuracy")
    gap: dict[str, Any] = {"facecolor": "none", "edgecolor": VERMILLION, "hatch": "///"}
    low = np.minimum(accuracy, confidence)
    height = np.abs(accuracy - confidence)
    axes.bar(middles[known], height, width, low, label="gap", **gap)
    axes.plot([0, 100], [0, 100], color=INK, linestyle="--", linewidth=1, label="calibrated")
    axes.set(xlim=(0, 100), ylim=(0, 101), ylabel="accuracy (%)")
    axes.tick_params(labelbottom=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.01))
    below = new_axes(sheet.figure, _LEFT, HEADER + 4 + _SIDE + 26, _SIDE, _COUNTS)
    below.bar(middles, 100 * found.counts / found.counts.sum(), width, color=MUTED)
    below.set(
        xlim=(0, 100), xlabel="confidence of the predicted class (%)", ylabel="predictions (%)"
    )
    below.locator_params(axis="y", nbins=4)
    sheet.write(
        _LEFT + _SIDE + 14, HEADER + 4 + _SIDE - 30, f"{ECE.display_name}:", size=SMALL, color=MUTED
    )
    sheet.write(_LEFT + _SIDE + 14, HEADER + 4 + _SIDE - 10, ECE.text(found.error))
    for each in (axes, below):
        each.yaxis.set_major_formatter("{x:g}")
        each.xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(20))
    set_fonts(sheet.figure)
    return sheet.figure


@dataclass(frozen=True)
class OneClass:
    """A class, or a label, against all others.

    chosen: recall and precision, 0..1, at the threshold that answers are given with.
    """

    name: str
    ranking: Ranking
    chosen: tuple[float, float] | None = None

    def area(self, kind: Kind) -> float:
        """The area under the curve, 0..1."""
        return self.ranking.auroc if kind == "roc" else self.ranking.average_precision


@styled
def draw_ranking(
    classes: Sequence[OneClass], kind: Kind, title: str, noun: str = "classes"
) -> Figure:
    """Precision over recall, or the ROC curve, of each class against all others.

    Beside a class's name stands the area under its curve. Of more than seven classes those with the
    smallest areas are shown; the mean below is that of all. A ring is a chosen threshold.
    """
    shown = list(classes)
    if len(shown) > MOST_CURVES:
        shown = sorted(shown, key=lambda one: one.area(kind))[:MOST_CURVES]
    texts = [shorten(one.name or "(no name)", _NAME, SMALL) for one in shown]
    areas = [f"{_AREAS[kind]} {one.area(kind):.4f}" for one in shown]
    legend = 64 + math.ceil(max(widest(texts, SMALL), widest(areas, SMALL)))
    sheet = Sheet(_LEFT + _SIDE + legend + MARGIN, HEADER + _SIDE + _BELOW + 30, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER + 4, _SIDE, _SIDE)
    for number, (one, text, area) in enumerate(zip(shown, texts, areas, strict=True)):
        x, y = _curve(one.ranking, kind)
        # By distance on the plot: most points of a good classifier lie in one corner.
        style = {**line_of(number), **marker_of(number), "markevery": (0.02 * number, 0.15)}
        style |= {"linewidth": 1.6, "zorder": 3 + len(shown) - number, "clip_on": False}
        axes.plot(100 * x, 100 * y, label=in_legend(f"{text}\n{area}"), **style)
        if one.chosen:
            axes.plot(*(100 * np.array(one.chosen)), color=style["color"], **_RING)
    if any(one.chosen for one in shown):
        axes.plot([], [], color=INK, label="chosen threshold", **_RING)
    if kind == "roc":
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, label="chance\n0.5")
        axes.set(xlabel="false positive rate (%)", ylabel="true positive rate: recall (%)")
    else:
        axes.set(xlabel="recall (%)", ylabel="precision (%)")
    axes.set(xlim=(0, 101), ylim=(0, 101))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.01), fontsize=SMALL, labelspacing=0.8)
    sheet.write(MARGIN, sheet.height - 14, _note(classes, kind, noun), size=SMALL, color=MUTED)
    set_fonts(sheet.figure)
    return sheet.figure


def _note(classes: Sequence[OneClass], kind: Kind, noun: str) -> str:
    if len(classes) == 1:
        return f"of {classes[0].name or '(no name)'}"
    mean = f"{np.mean([one.area(kind) for one in classes]):.4f}"
    if len(classes) <= MOST_CURVES:
        return f"mean {_AREAS[kind]} of the {len(classes)} {noun}: {mean}"
    return (
        f"the {MOST_CURVES} {noun} with the lowest {_AREAS[kind]}; "
        f"the mean of all {len(classes):,} {noun} is {mean}"
    )


def _curve(found: Ranking, kind: Kind) -> tuple[Floats, Floats]:
    """x and y, 0..1, from where nothing is found to where all is; of many points some."""
    if kind == "roc":
        x, y = (np.concatenate([[0.0], v]) for v in (found.false_alarms, found.recall))
    else:
        x = np.concatenate([[0.0], found.recall])
        y = np.concatenate([found.precision[:1], found.precision])
    if len(x) > _MOST_POINTS:
        some = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int))
        x, y = x[some], y[some]
    return x, y
