"""Scores of predicted numbers; the tests hold them equal to scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnrun.components.tasks.metrics import FloatArray

# Standardized variances below this are rounding errors of constant values.
_NO_VARIANCE = 1e-7


def regression_scores(
    predicted: npt.NDArray[Any], true: npt.NDArray[Any], names: Sequence[str]
) -> dict[str, Any]:
    """R2, MAE and RMSE per value, and their means over the values.

    predicted, true: (N, D), N > 0. Scores of NaN predictions are NaN.
    """
    true = true.astype(np.float64)
    error = predicted.astype(np.float64) - true
    variance = np.where(np.ptp(true, 0) > 0, true.var(0), 0.0)
    figures = {
        "r2": explained(np.square(error).mean(0), variance),
        "mae": np.abs(error).mean(0),
        "rmse": np.sqrt(np.square(error).mean(0)),
    }
    return {
        "samples": len(true),
        **{name: float(each.mean()) for name, each in figures.items()},
        "per_value": [
            {
                "value": name,
                **{figure: float(each[k]) for figure, each in figures.items()},
                "mean": float(true[:, k].mean()),
                "std": float(np.sqrt(variance[k])),
            }
            for k, name in enumerate(names)
        ],
        "values": list(names),
    }


def explained(squared: FloatArray, variance: FloatArray) -> FloatArray:
    """R2 of each value: 1 - mean squared error / variance.

    Where all true values are equal it is 1 for perfect predictions and 0 for others, as in
    scikit-learn.

    squared, variance: (D,).
    """
    known = variance > 0
    r2 = 1 - squared / np.where(known, variance, 1)
    return np.asarray(np.where(known, r2, squared == 0), dtype=np.float64)


def figures_of_sums(means: FloatArray, std: FloatArray) -> dict[str, float]:
    """The same means over values, from means over samples of standardized values.

    means: (4, D) of |error|, error^2, true value and its square. std: (D,), their units.
    """
    size, squared, mean, square = means
    variance = square - mean**2
    variance = np.where(variance > _NO_VARIANCE, variance, 0.0)
    return {
        "r2": float(explained(squared, variance).mean()),
        "mae": float((std * size).mean()),
        "rmse": float((std * np.sqrt(squared)).mean()),
    }
