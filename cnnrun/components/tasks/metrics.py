"""Scores of a classifier from its outputs for every sample, whatever the batch size.

All follow from the confusion matrix and the probabilities in a few lines of numpy; the tests hold
them equal to scikit-learn's and torchmetrics', whose import would cost each run 0.8 and 2.3 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


TOP_FROM = 6
"""With fewer classes the right one is always among the top five."""


def classification_scores(
    outputs: npt.NDArray[Any], labels: IntArray, classes: list[str]
) -> dict[str, Any]:
    """Accuracy and its baselines, per-class scores, confusion matrix, calibration.

    outputs: (N, K) logits (or log-probabilities), N > 0. labels: (N,) 0..K-1.

    `majority` is the accuracy of always naming the split's largest class; `auroc` is for two
    classes only, `top5` for six and more. Outputs that are NaN or infinite (`unanswered`) count as
    wrong everywhere, and are in no column of the confusion matrix. What is undefined (the recall of
    a class without samples, the calibration of NaN) is None.
    """
    answered = np.isfinite(outputs.max(1))
    known, of_known = outputs[answered], labels[answered]
    probabilities = softmax(known)
    matrix = confusion_matrix(of_known, probabilities.argmax(1), len(classes))
    supports = np.bincount(labels, minlength=len(classes))
    rows = per_class_scores(matrix, classes, supports)
    scores: dict[str, Any] = {
        "samples": len(labels),
        "unanswered": int((~answered).sum()),
        "accuracy": float(matrix.trace() / len(labels)),
        "majority": float(supports.max() / len(labels)),
        "balanced_accuracy": float(np.mean([row["recall"] for row in rows if row["support"]])),
        "macro_f1": macro_f1(matrix, supports),
    }
    if len(classes) == 2:
        margins = known[:, 1].astype(np.float64) - known[:, 0]
        scores["auroc"] = auroc(margins, labels) if answered.all() else None
    if len(classes) >= TOP_FROM:
        scores["top5"] = float(top_k_hits(known, of_known, 5).sum() / len(labels))
    return scores | {
        "ece": calibration(probabilities, of_known).error if answered.all() else None,
        "per_class": rows,
        "confusion": matrix.tolist(),
        "classes": list(classes),
    }


def macro_f1(matrix: IntArray, supports: IntArray) -> float:
    """The mean F1 of all classes that have samples or were predicted.

    matrix: (K, K) counts, of at least one sample; supports: (K,) samples of each class.
    """
    counts = supports + matrix.sum(0)
    there = counts > 0
    return float((2 * matrix.diagonal()[there] / counts[there]).mean())


def softmax(outputs: npt.NDArray[Any]) -> FloatArray:
    """Probabilities (N, K) of logits (N, K), in float64."""
    logits = outputs.astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def likeliest(
    probabilities: npt.NDArray[Any], names: Sequence[str], count: int
) -> list[list[tuple[str, float]]]:
    """For each row of (N, K) its `count` likeliest (name, probability), most likely first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        [(names[k], float(row[k])) for k in best]
        for row, best in zip(probabilities, order, strict=True)
    ]


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> IntArray:
    """(K, K) counts; rows are the true classes, columns the predicted ones."""
    pairs = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return pairs.reshape(classes, classes)


def top_k_hits(outputs: npt.NDArray[Any], labels: IntArray, k: int) -> npt.NDArray[np.bool_]:
    """(N,) whether fewer than `k` classes are scored above the true one; no output is NaN."""
    own = outputs[np.arange(len(labels)), labels][:, None]
    # Of equal scores the lower class index ranks higher, as in argmax.
    ties_before = (outputs == own) & (np.arange(outputs.shape[1]) < labels[:, None])
    return np.asarray(((outputs > own) | ties_before).sum(1) < k)


def per_class_scores(
    matrix: IntArray, classes: list[str], supports: IntArray | None = None
) -> list[dict[str, Any]]:
    """Precision, recall, F1 and the number of samples of each class.

    matrix: (K, K) counts. supports: (K,), given where some samples are in no column of it.

    Precision is 0 for a class that was never predicted.
    """
    supports = matrix.sum(1) if supports is None else supports
    rows = []
    for k, name in enumerate(classes):
        hits, support, predicted = int(matrix[k, k]), int(supports[k]), int(matrix[:, k].sum())
        rows.append(
            {
                "class": name,
                "precision": hits / predicted if predicted else 0.0,
                "recall": hits / support if support else None,
                "f1": 2 * hits / (support + predicted) if support else None,
                "support": support,
            }
        )
    return rows


def auroc(scores: FloatArray, labels: IntArray) -> float | None:
    """The area under the ROC curve: how often class 1 is scored above class 0, ties counting half.

    scores: (N,) that grow with the probability of class 1. labels: (N,) 0 or 1.

    Source: Hanley and McNeil 1982. None where one of the classes has no sample.
    """
    positive = int((labels == 1).sum())
    pairs = positive * (len(labels) - positive)
    if not pairs:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / pairs)


@dataclass(frozen=True)
class Calibration:
    """Samples in bins of equal width by the confidence of the predicted class: (bins,) each.

    confidence: sum of confidences, each 0..1. correct: correct predictions. counts: samples.
    """

    confidence: FloatArray
    correct: FloatArray
    counts: IntArray

    @property
    def error(self) -> float:
        """The expected calibration error: |confidence - accuracy|, mean over samples, 0..1.

        Source: Guo et al. 2017.
        """
        return float(np.abs(self.confidence - self.correct).sum() / self.counts.sum())


def calibration(probabilities: FloatArray, labels: IntArray, bins: int = 15) -> Calibration:
    """From probabilities (N, K) and labels (N,), N > 0."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return Calibration(
        np.bincount(bin_of, weights=confidence, minlength=bins).astype(np.float64),
        np.bincount(bin_of, weights=correct, minlength=bins).astype(np.float64),
        np.bincount(bin_of, minlength=bins),
    )


def fraction_text(value: float | None) -> str:
    """A score in 0..1 for a table; `-` where it is undefined."""
    return "-" if value is None else f"{value:.3f}"
