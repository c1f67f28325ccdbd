"""A reliability diagram as SVG: accuracy against confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cnnrun.metrics import ECE
from cnnrun.report.page import render, table
from cnnrun.report.scale import Scale

if TYPE_CHECKING:
    from cnnrun.components.tasks.metrics import Calibration

_SIDE, _LEFT, _TOP, _COUNTS, _GAP = 300, 62, 12, 70, 16  # pixels


def reliability(found: Calibration) -> Markup:
    """Bars of accuracy by confidence, how many answers each has, and the figures as a table."""
    foot = _TOP + _SIDE + _GAP + _COUNTS
    most = float(found.counts.max())
    bins = _bins(found)
    return render(
        "reliability.html",
        ece=f"{ECE.display_name} is {ECE.text(found.error)}",
        bins=bins,
        across=Scale(0, 100, _LEFT, _LEFT + _SIDE),
        up=Scale(0, 100, _TOP + _SIDE, _TOP),
        counted=Scale(0, most, foot, foot - _COUNTS),
        most=most,
        left=_LEFT,
        side=_SIDE,
        foot=foot,
        numbers=_numbers(bins),
    )


def _bins(found: Calibration) -> list[dict[str, Any]]:
    """The bins that have answers; confidence and accuracy are means, in per cent."""
    width = 100 / len(found.counts)
    columns = (found.counts, found.confidence, found.correct)
    return [
        {
            "low": k * width,
            "high": (k + 1) * width,
            "count": int(count),
            "confidence": 100 * float(sure) / count,
            "accuracy": 100 * float(right) / count,
        }
        for k, (count, sure, right) in enumerate(zip(*columns, strict=True))
        if count
    ]


def _numbers(bins: list[dict[str, Any]]) -> Markup:
    rows = [
        [
            (one["low"], f"{one['low']:.0f} to {one['high']:.0f} %"),
            one["count"],
            *((one[key], f"{one[key]:.1f} %") for key in ("confidence", "accuracy")),
        ]
        for one in bins
    ]
    head = ["confidence", "answers", "mean confidence", "accuracy"]
    return table("Predictions by confidence", head, rows)
