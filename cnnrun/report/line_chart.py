"""Lines by epoch as SVG, with their numbers for `page.js` to read out.

Colours are the page's CSS variables, so that they change with light and dark; lines differ in their
dashes and markers as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cnnrun.measures import Metric
from cnnrun.report.page import bdi, embedded
from cnnrun.report.scale import Scale

MOST_LINES = 7
"""More could not be told apart."""

MOST_EPOCHS = 300
"""A line has no room for more points, and a page not for all of their numbers."""

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 46
_DASHES = ("", "7 4", "2 4", "9 3 2 3", "12 4", "4 2", "1 3")

Values = Sequence[float | None]

LEARNING_RATE = Metric("lr", higher_is_better=False, display_name="learning rate", format=".4g")
"""Not that less of it is better: it is drawn as errors are."""


@dataclass(frozen=True)
class Line:
    """A line: a value for each x, None for a gap; `spread` to either side is a band."""

    name: str
    values: Values
    spread: Values = ()

    def at(self, epochs: Sequence[int]) -> Line:
        """The same at some of the epochs, which count from 1."""
        values, spread = (
            [v[epoch - 1] for epoch in epochs if epoch <= len(v)]
            for v in (self.values, self.spread)
        )
        return Line(self.name, values, spread)


def shown_epochs(count: int) -> list[int]:
    """Of 1 to `count` the epochs that are shown: all, or as many as fit, the last among them."""
    step = math.ceil(count / MOST_EPOCHS)
    return list(range(count, 0, -step))[::-1] if count else []


def line_chart(
    title: str, x: Sequence[float], lines: Sequence[Line], metric: Metric = LEARNING_RATE
) -> str:
    """Lines against the epoch, of values in the unit of `metric`.

    Errors and learning rates are on a log scale where they span a decade, as in the plots.
    """
    unit = f" {metric.unit}" if metric.unit else ""
    shown = lines[:MOST_LINES]
    ends = [v for line in shown for v in _reach(line) if v is not None and math.isfinite(v)]
    if not ends:
        return f"<p>{escape(title)}: no numbers to draw.</p>"
    low, high = min(ends), max(ends)
    values = [value for line in shown for value in line.values]
    log = metric.wants_log_axis(values)
    if log:  # a band that reaches below all means, perhaps to zero, is cut
        low = min(v for v in values if v is not None and math.isfinite(v))
    else:
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
    across = Scale(min(x), max(x), _LEFT + 8, _WIDTH - _RIGHT - 8)
    up = Scale(low, high, _HEIGHT - _BOTTOM, _TOP, log)
    # Around a constant, other marks would only seem to tell something.
    marks = up.ticks() if min(ends) < max(ends) else [ends[0]]
    parts = [_axes(across, up, marks, "epoch", unit)]
    for number, line in enumerate(shown):
        parts.append(_band(number, line, x, across, up))
    for number, line in enumerate(shown):
        parts.append(_line(number, line, x, across, up))
    parts.append('<line class="cursor" y1="14" y2="234" x1="-9" x2="-9"/>')
    data = {
        "x": list(x),
        "at": [across(value) for value in x],
        "lines": [
            {
                "name": line.name,
                "values": [_number(v) for v in line.values],
                "spread": [_number(v) for v in line.spread],
            }
            for line in shown
        ],
        "unit": unit,
        "decimals": _decimals(metric),
    }
    last = "; ".join(f"{line.name} ends at {_last(line, metric)}" for line in shown)
    label = escape(f"{title} by epoch: {last}. Arrow keys read the values.", quote=True)
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" tabindex="0" aria-label="{label}" '
        f'data-chart="{embedded(data)}">{"".join(parts)}</svg>{_legend(shown)}</figure>'
    )


def _reach(line: Line) -> list[float | None]:
    """The values, and the ends of the bands around them."""
    found = list(line.values)
    for value, spread in zip(line.values, line.spread, strict=False):
        if value is not None and spread is not None:
            found += [value - spread, value + spread]
    return found


def _number(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _decimals(metric: Metric) -> int | None:
    """The digits behind the point that scores are written with; None where that depends."""
    return int(metric.format[-2]) if metric.format.endswith("f") else None


def _last(line: Line, metric: Metric) -> str:
    known = [v for v in line.values if v is not None and math.isfinite(v)]
    return metric.text(known[-1] / metric.scale) if known else "no number"


def _axes(across: Scale, up: Scale, marks: Sequence[float], xlabel: str, unit: str) -> str:
    parts = []
    for value in marks:
        y = up(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        text = f"{value:g}{unit}"
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
        )
    for value in across.ticks():
        if value == int(value):
            at = f'x="{across(value)}" y="{_HEIGHT - _BOTTOM + 18}"'
            parts.append(f'<text class="tick" {at} text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{xlabel}</text>')
    return "".join(parts)


def _points(values: Values, x: Sequence[float], across: Scale, up: Scale) -> list[list[str]]:
    """The runs of finite points, as `x,y`."""
    pieces: list[list[str]] = [[]]
    for value, at in zip(values, x, strict=False):
        if value is None or not math.isfinite(value) or (up.log and value <= 0):
            pieces.append([])
        else:
            pieces[-1].append(f"{across(at)},{up(value)}")
    return [piece for piece in pieces if piece]


def _line(number: int, line: Line, x: Sequence[float], across: Scale, up: Scale) -> str:
    pieces = _points(line.values, x, across, up)
    dash = f' stroke-dasharray="{_DASHES[number]}"' if _DASHES[number] else ""
    drawn = [f'<polyline class="line c{number}"{dash} points="{" ".join(p)}"/>' for p in pieces]
    every = max(1, len(x) // 10)
    dots = [point for piece in pieces for point in piece][::every]
    for point in dots:
        cx, cy = point.split(",")
        drawn.append(f'<circle class="dot c{number}" cx="{cx}" cy="{cy}" r="2.6"/>')
    return "".join(drawn)


def _band(number: int, line: Line, x: Sequence[float], across: Scale, up: Scale) -> str:
    if not line.spread:
        return ""
    pairs = list(zip(line.values, line.spread, strict=True))
    floor = up.low if up.log else -math.inf
    above = [None if v is None or s is None else v + s for v, s in pairs]
    below = [None if v is None or s is None else max(v - s, floor) for v, s in pairs]
    points = [
        *(p for piece in _points(above, x, across, up) for p in piece),
        *reversed([p for piece in _points(below, x, across, up) for p in piece]),
    ]
    return f'<polygon class="band c{number}" points="{" ".join(points)}"/>' if points else ""


def _legend(lines: Sequence[Line]) -> str:
    items = []
    for number, line in enumerate(lines):
        dash = f' stroke-dasharray="{_DASHES[number]}"' if _DASHES[number] else ""
        sample = (
            f'<svg width="34" height="10" aria-hidden="true"><line class="line c{number}"{dash} '
            'x1="1" x2="33" y1="5" y2="5"/></svg>'
        )
        items.append(f"<li>{sample}{bdi(line.name)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'
