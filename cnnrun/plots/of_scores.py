"""Plots of how good a classifier's answers are: confusions, thresholds, calibration, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from cnnrun.components.tasks.metrics import calibration as calibrated
from cnnrun.components.tasks.metrics import confusion_matrix, softmax
from cnnrun.errors import UserError
from cnnrun.evaluation.ranking_curves import Answered, answered, ranking
from cnnrun.plots.drawing.confusion import draw_confusion
from cnnrun.plots.drawing.images import draw_mistakes
from cnnrun.plots.drawing.lettering import numbered
from cnnrun.plots.drawing.probabilities import Kind, OneClass, draw_calibration, draw_ranking
from cnnrun.plots.of_data import SplitName
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots


@plots.register("confusion")
def confusion(target: Target, *, split: SplitName = "test", normalized: bool = False) -> Figure:
    """Confusion matrix: predicted against true classes, with the recall of each class.

    split: Split that the images are from.
    normalized: Write percentages of the true class into the cells instead of counts.
    """
    predicted = target.logits(split).argmax(1)
    labels = target.predictions(split).labels
    matrix = confusion_matrix(labels, predicted, len(target.classes))
    return draw_confusion(matrix, list(target.classes), normalized=normalized)


@plots.register("mistakes")
def mistakes(target: Target, *, count: Annotated[int, Field(ge=1, le=100)] = 20) -> Figure:
    """The misclassified test images, most confident first.

    count: Number of images.
    """
    probabilities = softmax(target.logits())
    labels = target.predictions().labels
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != labels)
    shown = f"{min(count, len(wrong))} of {len(wrong):,}" if len(wrong) else "No"
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    data, names = target.split("test"), target.classes
    return draw_mistakes(
        as_floats(data.images[torch.from_numpy(wrong)]),
        [data.caption(k) for k in wrong.tolist()],
        [names[k] for k in labels[wrong]],
        [names[k] for k in predicted[wrong]],
        confidence[wrong].tolist(),
        f"{shown} mistakes on {len(labels):,} test images",
    )


@plots.register("calibration")
def calibration(
    target: Target, *, split: SplitName = "test", bins: Annotated[int, Field(ge=2, le=50)] = 15
) -> Figure:
    """Whether confidence matches accuracy: a reliability diagram.

    split: Split that the images are from.
    bins: Bins of confidence.
    """
    found = _answered(target, split)
    title = f"Calibration on {numbered(len(found.labels), f'{split} image')}{_left_out(found)}"
    return draw_calibration(calibrated(found.probabilities, found.labels, bins), title)


@plots.register("precision_recall")
def precision_recall(target: Target, *, split: SplitName = "test") -> Figure:
    """Precision-recall curve of each class against all others.

    split: Split that the images are from.
    """
    return _ranked(target, split, "precision_recall")


@plots.register("roc")
def roc(target: Target, *, split: SplitName = "test") -> Figure:
    """ROC curve of each class against all others.

    split: Split that the images are from.
    """
    return _ranked(target, split, "roc")


def _ranked(target: Target, split: str, kind: Kind) -> Figure:
    found = _answered(target, split)
    classes = _against_others(found, target.classes)
    if not classes:
        raise UserError(f"the {split} split has only one class: there is nothing to classify")
    if kind == "roc" and len(target.classes) == 2:
        classes = classes[-1:]  # the other curve is its mirror image
    of = f"{numbered(len(found.labels), f'{split} image')}{_left_out(found)}"
    what = "ROC" if kind == "roc" else "Precision and recall"
    return draw_ranking(classes, kind, f"{what} on {of}")


def _against_others(found: Answered, names: Sequence[str]) -> list[OneClass]:
    """Each class that some of the samples are of, and not all."""
    masks = [found.labels == k for k in range(len(names))]
    return [
        OneClass(names[k], ranking(found.probabilities[:, k], mask))
        for k, mask in enumerate(masks)
        if mask.any() and not mask.all()
    ]


def _answered(target: Target, split: str) -> Answered:
    """The samples whose outputs are numbers.

    Raises:
        UserError: the target is no trained classifier, or none is a number.
    """
    found = answered(target.logits(split), target.predictions(split).labels)
    if not len(found.labels):
        raise UserError(f"{target.path}: no output is a finite number; did it diverge?")
    return found


def _left_out(found: Answered) -> str:
    return f" ({found.left_out:,} without finite outputs left out)" if found.left_out else ""
