"""Plots of predicted numbers (`task: regress`)."""

from __future__ import annotations

from cnnrun.components.tasks.metrics import fraction_text
from cnnrun.components.tasks.task import Array
from cnnrun.components.tasks.value_metrics import regression_scores
from cnnrun.errors import UserError
from cnnrun.plots.drawing.values import draw_predicted, draw_residuals
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target
from cnnrun.registry import plots


@plots.register("predicted")
def predicted(target: Target) -> Figure:
    """Predicted against true values of the test images."""
    said, true, headings = _values(target)
    return draw_predicted(said, true, headings, f"Predicted and true, {len(true):,} test images")


@plots.register("residuals")
def residuals(target: Target) -> Figure:
    """Residuals against predicted values."""
    said, true, headings = _values(target)
    return draw_residuals(said, true, headings, f"Errors of {len(true):,} test images")


def _values(target: Target) -> tuple[Array, Array, list[tuple[str, str]]]:
    """Predicted and true values (N, D), and what is to be written over each value's panel.

    Raises:
        UserError: the model predicts no values.
    """
    predictions = target.predictions()
    if "values" not in predictions.answers:
        raise UserError("this plot needs a network that predicts values (task: regress)")
    said, true = predictions.answers["values"], predictions.targets
    rows = regression_scores(said, true, target.classes)["per_value"]
    scores = [f"R2 {fraction_text(row['r2'])}, MAE {row['mae']:.3g}" for row in rows]
    return said, true, list(zip(target.classes, scores, strict=True))
