"""Lines by epoch: what `assets/chart.js` draws, with uPlot, where the page is opened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cnnrun.metrics import Metric

MOST_LINES = 7
"""More could not be distinguished."""

MOST_EPOCHS = 300
"""A page has no room for the numbers of more."""

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


def shown_epochs(count: int, most: int = MOST_EPOCHS) -> list[int]:
    """Of 1 to `count` the epochs that are shown: all, or as many as fit, the last among them."""
    step = math.ceil(count / most)
    return list(range(count, 0, -step))[::-1] if count else []


def chart(
    title: str, x: Sequence[float], lines: Sequence[Line], metric: Metric = LEARNING_RATE
) -> dict[str, Any]:
    """Lines against the epoch, of values in the unit of `metric`, as the page gets them."""
    shown = [asdict(line) for line in lines[:MOST_LINES]]
    for line in shown:
        line |= {key: list(map(figure, line[key])) for key in ("values", "spread")}
    return {"title": title, "x": list(x), "lines": shown, **look(metric)}


def look(metric: Metric) -> dict[str, Any]:
    """How the page writes values of `metric` and which axis they have."""
    return {"unit": metric.unit, "decimals": _decimals(metric), "is_error": metric.is_error}


def figure(value: float | None) -> float | None:
    """A number in as many digits as can be seen; None for what is none."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _decimals(metric: Metric) -> int | None:
    """The digits behind the point that scores are written with; None where that depends."""
    return int(metric.format[-2]) if metric.format.endswith("f") else None
