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

    predicted, true: (N, D), N > 0. Scores of NaN predictions are NaN; R2 is None where all true
    values are equal, as those of a single image are, and its mean is over the other values.
    """
    true = true.astype(np.float64)
    error = predicted.astype(np.float64) - true
    variance = np.where(np.ptp(true, 0) > 0, true.var(0), 0.0)
    r2 = explained(np.square(error).mean(0), variance)
    figures = {"mae": np.abs(error).mean(0), "rmse": np.sqrt(np.square(error).mean(0))}
    return {
        "samples": len(true),
        "r2": mean_of_known(r2),
        **{name: float(each.mean()) for name, each in figures.items()},
        "per_value": [
            {
                "value": name,
                "r2": r2[k],
                **{figure: float(each[k]) for figure, each in figures.items()},
                "mean": float(true[:, k].mean()),
                "std": float(np.sqrt(variance[k])),
            }
            for k, name in enumerate(names)
        ],
        "values": list(names),
    }


def explained(squared: FloatArray, variance: FloatArray) -> list[float | None]:
    """R2 of each value: 1 - mean squared error / variance; None without variance.

    squared, variance: (D,).
    """
    pairs = zip(squared, variance, strict=True)
    return [float(1 - error / spread) if spread > 0 else None for error, spread in pairs]


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of those that are defined; None if none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def figures_of_sums(means: FloatArray, std: FloatArray) -> dict[str, float | None]:
    """The same means over values, from means over samples of standardized values.

    means: (4, D) of |error|, error^2, true value and its square. std: (D,), their units.
    """
    size, squared, mean, square = means
    variance = square - mean**2
    variance = np.where(variance > _NO_VARIANCE, variance, 0.0)
    return {
        "r2": mean_of_known(explained(squared, variance)),
        "mae": float((std * size).mean()),
        "rmse": float((std * np.sqrt(squared)).mean()),
    }
