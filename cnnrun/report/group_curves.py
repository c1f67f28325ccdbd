"""The curves of groups of runs: means over seeds with bands, and the same as tables."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from cnnrun.comparison import Comparison, Result
from cnnrun.comparison.choice import loss_keys
from cnnrun.metrics import Metric
from cnnrun.report.charts import MOST_LINES, Line, chart, shown_epochs
from cnnrun.report.page import curves, sentences, table

_MANY_DIGITS = re.compile(r"\d+\.\d{5,}(e-?\d+)?")
_BRIEF = 32  # letters of a line's name after its letter


def group_curves(comparison: Comparison) -> Markup:
    """The curves of what groups are compared by, and of the loss, over train and validation."""
    runs = [run for result in comparison.results for run in result.group.runs]
    names = (comparison.ranked_by.metric.name, comparison.metric.name, "loss")
    drawn, numbers = [], []
    for name in dict.fromkeys(names):
        metric = runs[0].metric(name)
        if metric.of_the_loss and loss_keys(runs):
            continue  # values of different losses on one axis would look like a comparison
        for split in ("validation", "train"):
            lines = _lines(comparison, f"{split}_{name}", metric.scale)
            if lines:
                x = shown_epochs(max(len(line.values) for line in lines))
                lines = [line.at(x) for line in lines]
                drawn.append(chart(f"{split} {metric.display_name}", x, lines, metric))
                numbers.append(_numbers_of(split, metric, lines, x))
    more = len(comparison.results) - MOST_LINES
    beyond = f" {more} more groups are not drawn." if more > 0 else ""
    words = f"Means over seeds, bands of one standard deviation; names as in the table.{beyond}"
    return sentences([words]) + curves(drawn, Markup().join(numbers))


def _lines(comparison: Comparison, key: str, scale: int) -> list[Line]:
    found = []
    for result in comparison.results[:MOST_LINES]:
        logs = [[row.get(key) for row in run.rows] for run in result.group.runs if run.rows]
        epochs = min(map(len, logs), default=0)
        columns = [_numbers([log[k] for log in logs], scale) for k in range(epochs)]
        if any(columns):
            means = [statistics.fmean(column) if column else None for column in columns]
            spread = [statistics.stdev(c) if len(c) > 1 else None for c in columns]
            found.append(Line(_called(result), means, spread))
    return found


def _called(result: Result) -> str:
    """The letter, or with its settings where they are short; the table of groups has them all."""
    brief = _MANY_DIGITS.sub(lambda found: f"{float(found[0]):.4g}", result.group.brief)
    settled = result.group.settings and not result.group.name and len(brief) <= _BRIEF
    return f"{result.name} ({brief})" if settled else result.name


def _numbers_of(split: str, metric: Metric, lines: Sequence[Line], x: Sequence[int]) -> Markup:
    """The lines as a table, one row per epoch."""

    def cell(line: Line, k: int) -> Any:
        value, spread = (v[k] if k < len(v) else None for v in (line.values, line.spread))
        if value is None:
            return (None, "-")
        around = "" if spread is None else f" ± {metric.gap(spread / metric.scale, unit=False)}"
        return (value, f"{metric.text(value / metric.scale)}{around}")

    rows = [[epoch, *(cell(line, k) for line in lines)] for k, epoch in enumerate(x)]
    title = f"Mean {split} {metric.display_name} ± standard deviation"
    return table(title, ["epoch", *(n.name for n in lines)], rows)


def _numbers(column: Sequence[Any], scale: int) -> list[float]:
    """The column, if all of it are numbers: a mean over some of the seeds would be of others."""
    found = [scale * v for v in column if isinstance(v, (int, float)) and math.isfinite(v)]
    return found if len(found) == len(column) else []
