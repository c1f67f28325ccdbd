"""Scores of sets of labels; the tests hold them equal to scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnrun.components.tasks.metrics import FloatArray, auroc

Bools = npt.NDArray[np.bool_]


def label_set_scores(
    probabilities: FloatArray,
    true: npt.NDArray[Any],
    names: Sequence[str],
    thresholds: Sequence[float],
) -> dict[str, Any]:
    """Mean average precision, F1 over all labels and per label, and the fraction of exact sets.

    probabilities: (N, K) float64, N > 0. true: (N, K) 0 or 1. thresholds: K probabilities; a label
    is predicted from its own on.

    `map` is the mean over the labels that some image has; what is undefined is None.
    `*_half` are with thresholds of 0.5, as in the log.
    """
    there = true > 0.5
    said = probabilities >= np.asarray(thresholds)
    precisions = [average_precision(probabilities[:, k], there[:, k]) for k in range(len(names))]
    known = [value for value in precisions if value is not None]
    rows = [
        {
            "label": name,
            "average_precision": precisions[k],
            "auroc": auroc(probabilities[:, k], there[:, k].astype(np.int64)),
            **_of_label(said[:, k], there[:, k]),
            "threshold": float(thresholds[k]),
            "support": int(there[:, k].sum()),
        }
        for k, name in enumerate(names)
    ]
    return {
        "samples": len(true),
        "map": float(np.mean(known)) if known else None,
        **f1_scores(*_counts(said, there)),
        "exact": float((said == there).all(1).mean()),
        **half(f1_scores(*_counts(probabilities >= 0.5, there))),
        "per_label": rows,
        "labels": list(names),
    }


def f1_scores(hits: FloatArray, said: FloatArray, there: FloatArray) -> dict[str, float | None]:
    """F1 of all labels together (micro) and the mean of each one's (macro).

    hits, said, there: (K,) true positives, predicted and actual positives of each label, as counts
    or fractions. Labels that no image has and that were never predicted do not count; both scores
    are None if there are no others.
    """
    total = said + there
    known = total > 0
    each = 2 * hits[known] / total[known]
    return {
        "micro_f1": float(2 * hits.sum() / total.sum()) if known.any() else None,
        "macro_f1": float(each.mean()) if known.any() else None,
    }


def half(scores: dict[str, float | None]) -> dict[str, float | None]:
    """The scores under the names that they have at a threshold of 0.5."""
    return {f"{name}_half": value for name, value in scores.items()}


def _counts(said: Bools, there: Bools) -> tuple[FloatArray, FloatArray, FloatArray]:
    sums = [part.sum(0).astype(np.float64) for part in (said & there, said, there)]
    return sums[0], sums[1], sums[2]


def _of_label(said: Bools, there: Bools) -> dict[str, float | None]:
    hits, many, support = (int(part.sum()) for part in (said & there, said, there))
    return {
        "precision": hits / many if many else 0.0,
        "recall": hits / support if support else None,
        "f1": 2 * hits / (many + support) if support else None,
    }


def average_precision(scores: FloatArray, there: Bools) -> float | None:
    """The mean precision at each image that has the label, from the highest score down.

    scores: (N,). there: (N,). Equal scores are one step, as in scikit-learn. None without any such
    image, or where a score is NaN.
    """
    if not there.any() or not np.isfinite(scores).all():
        return None
    precision, recall, _ = precision_recall(scores, there)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def precision_recall(scores: FloatArray, there: Bools) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision and recall with each score as the threshold, and the thresholds, highest first.

    scores: (N,), finite. there: (N,), some of them True.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # the last of equal ones
    hits = np.cumsum(there[order])[ends].astype(np.float64)
    return hits / (ends + 1), hits / there.sum(), scores[order][ends]


def best_thresholds(probabilities: FloatArray, true: npt.NDArray[Any]) -> list[float]:
    """For each label the threshold of the highest F1, midway between two probabilities.

    probabilities: (N, K). true: (N, K) 0 or 1. Of equally good ones it is the nearest to 0.5; a
    label that no image has keeps 0.5.
    """
    return [_best(probabilities[:, k], true[:, k] > 0.5) for k in range(true.shape[1])]


def _best(scores: FloatArray, there: Bools) -> float:
    if not there.any() or not np.isfinite(scores).all():
        return 0.5
    precision, recall, cuts = precision_recall(scores, there)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    middles = (cuts + np.append(cuts[1:], 0.0)) / 2
    good = middles[f1 >= f1.max() - 1e-12]
    return float(good[np.argmin(np.abs(good - 0.5))])
