"""Parallel coordinates as SVG: an axis a setting, a line a group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from cnnrun.measures import Metric
from cnnrun.report.scale import Scale, round_numbers

_TOP, _BOTTOM, _LEFT = 20, 246, 70
_PITCH = (130, 190)
_LINE = 14  # pixels between two marks of an axis that can be read
_MOST_MARKS = (_BOTTOM - _TOP) // _LINE


def parallel(
    keys: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str,
    scores: Sequence[float | None],
    sign: int,
    metric: Metric,
) -> str:
    """Groups as lines over their settings, the score at the right; blue is good, orange bad.

    rows: the settings of each, as text; numbers are placed by value, others by their order.
    sign: 1 where more is better, else -1. At least one score is a number.
    """

    def written(score: float) -> str:
        return metric.text(score / metric.scale)

    known = [(row, score) for row, score in zip(rows, scores, strict=True) if score is not None]
    known.sort(key=lambda pair: sign * pair[1])  # the best are drawn last, on top
    low, high = (end(score for _, score in known) for end in (min, max))
    last = Scale(low, high, _BOTTOM, _TOP)
    axes = [_Axis(texts) for texts in zip(*(row for row, _ in known), strict=True)]
    pitch = max(_PITCH[0], min(_PITCH[1], 900 // (len(axes) + 1)))
    lines = []
    for row, score in known:
        heights = [*(axis(text) for axis, text in zip(axes, row, strict=True)), last(score)]
        points = " ".join(f"{_LEFT + pitch * n},{y}" for n, y in enumerate(heights))
        share = (score - low) / ((high - low) or 1)
        settings = ", ".join(f"{key}={text}" for key, text in zip(keys, row, strict=True))
        title = escape(f"{settings}: {name} {written(score)}")
        lines.append(
            f'<polyline class="trial" style="--share:{share if sign > 0 else 1 - share:.2f}" '
            f'points="{points}"><title>{title}</title></polyline>'
        )
    marks = [axis.marks() for axis in axes]
    marks.append([(f"{value:.4g}", last(value)) for value in round_numbers(low, high)])
    names = zip([*keys, name], marks, strict=True)
    drawn = [_upright(_LEFT + pitch * n, name, found) for n, (name, found) in enumerate(names)]
    label = f"{len(known)} groups by their settings and {name}; the table has the figures"
    return (
        "<figure><figcaption>A line is a group of runs.</figcaption>"
        '<div class="wide" tabindex="0" role="region" aria-label="Parallel coordinates">'
        f'<svg class="parallel" width="{_LEFT + pitch * len(axes) + 90}" height="290" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(lines + drawn)}</svg></div>'
        f"{_legend(name, *map(written, (low, high) if sign > 0 else (high, low)))}</figure>"
    )


def _legend(name: str, worst: str, best: str) -> str:
    text = escape(name)
    return (
        f'<p class="scale"><span>{text} {worst}</span><span class="bar"></span>'
        f"<span>{best} (the best)</span></p>"
    )


class _Axis:
    """Words in their order; or numbers, where all are, by their values or logarithms."""

    def __init__(self, texts: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(texts))
        try:
            numbers = sorted({float(text) for text in distinct})
        except ValueError:
            numbers = []
        self.is_numeric = bool(numbers)
        self.names = [f"{value:g}" for value in numbers] if numbers else distinct
        places = numbers or [float(k) for k in range(len(distinct))]
        log = bool(numbers) and places[0] > 0 and places[-1] > 30 * places[0]
        self.scale = Scale(places[0], places[-1], _BOTTOM, _TOP, log)
        self.order = {name: float(k) for k, name in enumerate(self.names)}

    def __call__(self, text: str) -> float:
        return self.scale(float(text) if self.is_numeric else self.order[text])

    def marks(self) -> list[tuple[str, float]]:
        """Texts and where they stand: the values, or round numbers where those lie too close."""
        values = list(map(float, self.names)) if self.is_numeric else list(self.order.values())
        own = [(n, self.scale(v)) for n, v in zip(self.names, values, strict=True)]
        heights = sorted(y for _, y in own)
        close = any(b - a < _LINE for a, b in pairwise(heights))
        if not close:
            return own
        if self.is_numeric:
            return [(f"{value:g}", self.scale(value)) for value in self.scale.ticks()]
        return own[:: -(-len(own) // _MOST_MARKS)]


def _upright(x: float, name: str, marks: Sequence[tuple[str, float]]) -> str:
    texts = "".join(
        f'<text class="tick halo" x="{x + 5}" y="{y + 4}">{escape(text[:14])}</text>'
        for text, y in marks
    )
    short = escape(name if len(name) <= 22 else f"…{name[-21:]}")
    return (
        f'<line class="axis" x1="{x}" x2="{x}" y1="16" y2="250"/>{texts}'
        f'<text x="{x}" y="276" text-anchor="middle">{short}</text>'
    )
