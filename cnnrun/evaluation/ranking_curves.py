"""How well a class is separated from all others at each threshold: precision, recall, ROC.

A few lines of numpy, as scikit-learn's take half a second to import; tests hold them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnrun.components.tasks.metrics import softmax

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answered:
    """The samples of a split that a classifier gave finite outputs for.

    probabilities: (N, K) float64 0..1. labels: (N,) int64. left_out: samples without such outputs.
    """

    probabilities: Floats
    labels: NDArray[np.int64]
    left_out: int


def answered(outputs: NDArray[Any], labels: NDArray[np.int64]) -> Answered:
    """From logits (N, K) and labels (N,)."""
    known = np.isfinite(outputs.max(1))  # as the scores have it
    return Answered(softmax(outputs[known]), labels[known], int((~known).sum()))


@dataclass(frozen=True)
class Ranking:
    """Samples by falling score, one point for each distinct score: (M,) each.

    hits, alarms: of the samples scored so high or higher, how many are of the class, and how many
    are not. positives, negatives: how many of either there are.
    """

    hits: NDArray[np.int64]
    alarms: NDArray[np.int64]
    positives: int
    negatives: int

    @property
    def recall(self) -> Floats:
        """Recall: the true positive rate."""
        return self.hits / self.positives

    @property
    def precision(self) -> Floats:
        """Precision: the fraction of positives that are correct."""
        return self.hits / (self.hits + self.alarms)

    @property
    def false_alarms(self) -> Floats:
        """The false positive rate."""
        return self.alarms / self.negatives

    @property
    def average_precision(self) -> float:
        """Average precision: the precision at each step of recall, weighted by its length."""
        return float((np.diff(self.recall, prepend=0) * self.precision).sum())

    @property
    def auroc(self) -> float:
        """The area under the ROC curve, by trapezoids."""
        rates = np.concatenate([[0.0], self.recall])
        return float((np.diff(self.false_alarms, prepend=0) * (rates[1:] + rates[:-1]) / 2).sum())


def ranking(scores: Floats, is_positive: NDArray[np.bool_]) -> Ranking:
    """From scores (N,) and whether each sample is of the class (N,)."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_equal = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = np.cumsum(is_positive[order])[last_of_equal]
    positives = int(is_positive.sum())
    alarms = last_of_equal + 1 - hits
    return Ranking(hits, alarms, positives, len(scores) - positives)
