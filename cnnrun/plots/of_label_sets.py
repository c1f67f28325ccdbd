"""Plots of sets of labels (`task: multilabel`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnnrun.components.tasks.multilabel import Multilabel, sigmoid
from cnnrun.errors import UserError
from cnnrun.evaluation.ranking_curves import ranking
from cnnrun.plots.drawing.lettering import numbered
from cnnrun.plots.drawing.probabilities import OneClass, draw_ranking
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target
from cnnrun.registry import plots


@plots.register("label_curves")
def label_curves(target: Target) -> Figure:
    """Precision-recall curve of each label on the test split, with the chosen threshold."""
    task = target.parts.task
    if not isinstance(task, Multilabel):
        raise UserError("this plot needs a network that predicts sets of labels (task: multilabel)")
    predictions = target.predictions()
    probabilities, there = sigmoid(predictions.answers["outputs"]), predictions.targets > 0.5
    labels = []
    for k, (name, threshold) in enumerate(zip(target.classes, task.thresholds, strict=True)):
        scores, has = probabilities[:, k], there[:, k]
        if has.any() and np.isfinite(scores).all():
            labels.append(OneClass(name, ranking(scores, has), _at(scores >= threshold, has)))
    if not labels:
        raise UserError("no test image has any of the labels: there is nothing to draw")
    title = f"Precision and recall on {numbered(len(there), 'test image')}"
    return draw_ranking(labels, "precision_recall", title, "labels")


def _at(said: NDArray[np.bool_], has: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Recall and precision of an answer (N,); None where it never says yes."""
    hits = float((said & has).sum())
    return (hits / has.sum(), hits / said.sum()) if said.any() else None
