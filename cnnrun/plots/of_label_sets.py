"""Plots of sets of labels (`task: multilabel`)."""

from __future__ import annotations

from cnnrun.components.tasks.label_set_metrics import average_precision, precision_recall
from cnnrun.components.tasks.multilabel import Multilabel, sigmoid
from cnnrun.errors import UserError
from cnnrun.plots.drawing.label_curves import Curve, draw_label_curves
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target
from cnnrun.registry import plots


@plots.register("label_curves")
def label_curves(target: Target) -> Figure:
    """Precision-recall curve of each label on the test split, with the chosen threshold."""
    task = target.parts.task
    if not isinstance(task, Multilabel):
        raise UserError("this plot needs a network that tells sets of labels (task: multilabel)")
    predictions = target.predictions()
    probabilities, there = sigmoid(predictions.answers["outputs"]), predictions.targets > 0.5
    curves = []
    for k, (name, threshold) in enumerate(zip(target.classes, task.thresholds, strict=True)):
        score = average_precision(probabilities[:, k], there[:, k])
        if score is None:
            continue
        precision, recall, cuts = precision_recall(probabilities[:, k], there[:, k])
        from_there = int((cuts >= threshold).sum()) - 1
        curves.append(Curve(name, precision, recall, from_there, score))
    if not curves:
        raise UserError("no test image has any of the labels: there is nothing to draw")
    return draw_label_curves(curves, f"Precision and recall, {len(there):,} test images")
