"""Scores of masks from the pixels of each class; the tests hold them equal to torchmetrics'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnrun.components.tasks.metrics import FloatArray


def segmentation_scores(counts: npt.NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """Intersection over union of each class over all images, its mean, and the pixel accuracy.

    counts: (N, 3 K), for each image the true positives, predicted and actual pixels of each class;
    N > 0.
    """
    sums = counts.astype(np.float64).sum(0).reshape(3, -1)
    hits, _, there = sums
    ious = intersection_over_union(sums)
    return {
        "samples": len(counts),
        **of_counts(sums),
        "per_class": [
            {
                "class": name,
                "iou": None if np.isnan(ious[k]) else float(ious[k]),
                "recall": float(hits[k] / there[k]) if there[k] else None,
                "support": int(there[k]),
            }
            for k, name in enumerate(names)
        ],
        "classes": list(names),
    }


def of_counts(sums: FloatArray) -> dict[str, float | None]:
    """mIoU, over the classes that are present or predicted, and the pixel accuracy.

    sums: (3, K) pixels, or fractions of them; None where no pixel counts.
    """
    hits, _, there = sums
    ious = intersection_over_union(sums)
    known = ~np.isnan(ious)
    return {
        "miou": float(ious[known].mean()) if known.any() else None,
        "pixel_accuracy": float(hits.sum() / there.sum()) if there.any() else None,
    }


def intersection_over_union(sums: FloatArray) -> FloatArray:
    """(K,), NaN for classes that are neither present nor predicted."""
    hits, said, there = sums
    union = said + there - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(union > 0, hits / union, np.nan))
