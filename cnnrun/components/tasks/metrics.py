"""Scores of a classifier from its outputs for every sample, so that no batch size shows in them.

All follow from the confusion matrix and the probabilities in a few lines of numpy; the tests hold
them equal to scikit-learn's and torchmetrics', whose import would cost each run 0.8 and 2.3 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def classification_scores(
    outputs: npt.NDArray[Any], labels: IntArray, classes: list[str]
) -> dict[str, Any]:
    """Accuracy, top-5, per-class scores, confusion matrix and calibration error.

    outputs: (N, K) logits (or log-probabilities), N > 0. labels: (N,) 0..K-1.

    Classes without a sample have recall and F1 of None: nothing is known about them.
    """
    probabilities = softmax(outputs)
    predicted = probabilities.argmax(1)
    matrix = confusion_matrix(labels, predicted, len(classes))
    return {
        "samples": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "top5": top_k_accuracy(outputs, labels, 5),
        "ece": calibration_error(probabilities, labels),
        "per_class": per_class_scores(matrix, classes),
        "confusion": matrix.tolist(),
        "classes": list(classes),
    }


def softmax(outputs: npt.NDArray[Any]) -> FloatArray:
    """Probabilities (N, K) of logits (N, K), in float64."""
    logits = outputs.astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> IntArray:
    """(K, K) counts; rows are the true classes, columns the predicted ones."""
    pairs = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return pairs.reshape(classes, classes)


def top_k_accuracy(outputs: npt.NDArray[Any], labels: IntArray, k: int) -> float:
    """Share of samples with fewer than `k` classes scored above the true one (1.0 for K <= k)."""
    own = outputs[np.arange(len(labels)), labels][:, None]
    # Among equal scores the class of the lower label counts as the higher ranked, as in argmax.
    ties_before = (outputs == own) & (np.arange(outputs.shape[1]) < labels[:, None])
    return float((((outputs > own) | ties_before).sum(1) < k).mean())


def per_class_scores(matrix: IntArray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and the number of samples of each class.

    Precision is 0 for a class that was never predicted.
    """
    rows = []
    for k, name in enumerate(classes):
        hits, support, predicted = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
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


def calibration_error(probabilities: FloatArray, labels: IntArray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): |confidence - accuracy|, mean over samples.

    Samples are binned by the confidence of the predicted class, in `bins` bins of equal width.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=confidence, minlength=bins) - np.bincount(
        bin_of, weights=correct, minlength=bins
    )
    return float(np.abs(gaps).sum() / len(labels))
