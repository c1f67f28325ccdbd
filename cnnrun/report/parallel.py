"""Parallel coordinates as SVG: one axis per setting, one line per group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from cnnrun.metrics import Metric
from cnnrun.report.page import render
from cnnrun.report.scale import Scale, round_numbers

_TOP, _BOTTOM, _LEFT = 20, 246, 70
_PITCH = (130, 190)
_LETTER = 7  # pixels
_LINE = 14  # pixels between two marks of an axis that can be read
_MOST_MARKS = (_BOTTOM - _TOP) // _LINE


def parallel(
    keys: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str,
    scores: Sequence[float | None],
    sign: int,
    metric: Metric,
) -> Markup:
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
        share = (score - low) / ((high - low) or 1)
        settings = ", ".join(f"{key}={text}" for key, text in zip(keys, row, strict=True))
        lines.append(
            {
                "points": " ".join(f"{_LEFT + pitch * n},{y}" for n, y in enumerate(heights)),
                "share": f"{share if sign > 0 else 1 - share:.2f}",
                "title": f"{settings}: {name} {written(score)}",
            }
        )
    marks = [axis.marks() for axis in axes]
    marks.append([(f"{value:.4g}", last(value)) for value in round_numbers(low, high)])
    named = enumerate(zip([*keys, name], marks, strict=True))
    worst, best = map(written, (low, high) if sign > 0 else (high, low))
    return render(
        "parallel.html",
        lines=lines,
        axes=[{"x": _LEFT + pitch * n, "name": name, "marks": own} for n, (name, own) in named],
        room=pitch // _LETTER,
        width=_LEFT + pitch * len(axes) + 90,
        name=name,
        worst=worst,
        best=best,
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
