"""Plots of a run's log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cnnrun.errors import UserError
from cnnrun.plots.drawing.curves import draw_curves
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target
from cnnrun.registry import plots


@plots.register("curves")
def curves(target: Target) -> Figure:
    """Loss, accuracy and learning rate by epoch; the best epoch is marked."""
    rows = target.run.read_metrics()
    if not rows:
        raise UserError(f"{target.path}: no epoch has finished yet; there is nothing to draw")
    series: dict[str, dict[str, list[float]]] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        split, _, metric = key.partition("_")
        if split in ("train", "validation"):
            series.setdefault(metric, {})[split] = _values(rows, key)
    return draw_curves(
        epochs=[row["epoch"] for row in rows],
        series=series,
        lr=_values(rows, "lr"),
        best_epoch=_chosen_epoch(target),
        title=target.path.parent.name,
        metrics=target.metrics,
    )


def _values(rows: Sequence[Mapping[str, float | None]], key: str) -> list[float]:
    """Of each epoch; NaN where there is none."""
    return [math.nan if (value := row.get(key)) is None else value for row in rows]


def _chosen_epoch(target: Target) -> int | None:
    """The best epoch, where a validation split chose one."""
    summary = target.run.read_summary()
    if target.best_epoch or not summary:
        return target.best_epoch
    best = summary.get("best") or {}
    return summary.get("best_epoch") if any(key.startswith("validation_") for key in best) else None
