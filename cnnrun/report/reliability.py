"""A reliability diagram as SVG: whether answers are right as often as they are sure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cnnrun.measures import ECE
from cnnrun.report.page import details, sentences, table
from cnnrun.report.scale import Scale

if TYPE_CHECKING:
    from cnnrun.components.tasks.metrics import Calibration

_SIDE, _LEFT, _TOP, _BELOW, _COUNTS, _GAP = 300, 62, 12, 48, 70, 16
_TICKS = range(0, 101, 20)
_HATCH = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line class="hatch" x1="0" x2="0" y1="0" y2="6"/></pattern>'
)


def reliability(found: Calibration) -> str:
    """Bars of accuracy by confidence, how many answers each has, and the figures as a table."""
    bins = len(found.counts)
    ends = [(100 * k / bins, 100 * (k + 1) / bins) for k in range(bins)]
    label = (
        f"Reliability diagram: the accuracy of answers by their confidence. The {ECE.display_name} "
        f"is {ECE.text(found.error)}. The table below has the figures."
    )
    drawn = "".join([*_axes(), *_bars(found, ends)])
    width, height = _LEFT + _SIDE + 14, _TOP + _SIDE + _GAP + _COUNTS + _BELOW
    mean = "the mean gap between confidence and accuracy"
    note = f"The {ECE.display_name} is {ECE.text(found.error)}: {mean}."
    return (
        f"{sentences([note])}<figure><figcaption>Bars on the line are calibrated: below it answers "
        f'are surer than they are right.</figcaption><svg class="reliability" width="{width}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{_HATCH}{drawn}</svg>'
        f"{_legend()}</figure>{details('The numbers', _numbers(found, ends))}"
    )


def _axes() -> Iterator[str]:
    across, up = _scales()
    foot = _TOP + _SIDE + _GAP + _COUNTS
    for tick in _TICKS:
        x, y = across(tick), up(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _SIDE}" y1="{y}" y2="{y}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick} %</text>'
        yield f'<text class="tick" x="{x}" y="{foot + 18}" text-anchor="middle">{tick}</text>'
    middle = _LEFT + _SIDE / 2
    title = "confidence of the predicted class (%)"
    yield f'<text x="{middle}" y="{foot + 40}" text-anchor="middle">{title}</text>'
    for name, y in (("accuracy", _TOP + _SIDE / 2), ("answers", foot - _COUNTS / 2)):
        at = f'x="14" y="{y}" transform="rotate(-90 14 {y})"'
        yield f'<text {at} text-anchor="middle">{name}</text>'
    yield f'<line class="axis" x1="{_LEFT}" x2="{_LEFT + _SIDE}" y1="{foot}" y2="{foot}"/>'


def _bars(found: Calibration, ends: list[tuple[float, float]]) -> Iterator[str]:
    across, up = _scales()
    foot = _TOP + _SIDE + _GAP + _COUNTS
    counted = Scale(0, float(found.counts.max()), foot, foot - _COUNTS)
    for (low, high), row in zip(ends, _rows(found), strict=True):
        count, confidence, accuracy = row
        if not count:
            continue
        at = f'x="{across(low) + 1}" width="{across(high) - across(low) - 2:.2f}"'
        title = (
            f"<title>confidence {low:.0f} to {high:.0f} %: {count:,} answers, {accuracy:.1f} % "
            f"right, {confidence:.1f} % sure on average</title>"
        )
        top, sure = up(accuracy), up(confidence)
        yield f'<rect class="accuracy" {at} y="{top}" height="{up(0) - top:.2f}">{title}</rect>'
        gap = f'y="{min(top, sure)}" height="{abs(top - sure):.2f}"'
        yield f'<rect class="gap" {at} {gap}>{title}</rect>'
        height = counted(0) - counted(count)
        yield f'<rect class="count" {at} y="{counted(count)}" height="{height:.2f}">{title}</rect>'
    yield f'<line class="ideal" x1="{across(0)}" y1="{up(0)}" x2="{across(100)}" y2="{up(100)}"/>'


def _scales() -> tuple[Scale, Scale]:
    return Scale(0, 100, _LEFT, _LEFT + _SIDE), Scale(0, 100, _TOP + _SIDE, _TOP)


def _rows(found: Calibration) -> list[tuple[int, float, float]]:
    """Of each bin how many answers, and their mean confidence and accuracy in per cent."""
    columns = (found.counts, found.confidence, found.correct)
    return [
        (int(count), 100 * float(sure) / max(count, 1), 100 * float(right) / max(count, 1))
        for count, sure, right in zip(*columns, strict=True)
    ]


def _legend() -> str:
    items = (("accuracy", "accuracy"), ("gap", "gap to the confidence"), ("ideal", "calibrated"))
    samples = "".join(
        '<li><svg width="34" height="12" class="reliability" aria-hidden="true">'
        + (
            '<line class="ideal" x1="1" x2="33" y1="6" y2="6"/>'
            if kind == "ideal"
            else f'<rect class="{kind}" x="1" y="1" width="32" height="10"/>'
        )
        + f"</svg>{name}</li>"
        for kind, name in items
    )
    return f'<ul class="legend">{samples}</ul>'


def _numbers(found: Calibration, ends: list[tuple[float, float]]) -> str:
    rows = [
        [
            (low, f"{low:.0f} to {high:.0f} %"),
            count,
            (sure, f"{sure:.1f} %"),
            (right, f"{right:.1f} %"),
        ]
        for (low, high), (count, sure, right) in zip(ends, _rows(found), strict=True)
        if count
    ]
    head = ["confidence", "answers", "mean confidence", "accuracy"]
    return table("Answers by their confidence", head, rows)
