"""What few numbers allow to be claimed: intervals, and tests of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean and its 95 % interval; `low` and `high` are None where one number tells nothing."""

    mean: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of independent runs and Student's interval for it (Student 1908)."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Interval(mean, None, None)
    from scipy.stats import t

    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    reach = float(t.ppf((1 + level) / 2, count - 1)) * math.sqrt(variance / count)
    return Interval(mean, mean - reach, mean + reach)


def paired_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """How likely so large a mean difference of pairs is where there is none (paired t-test).

    None for fewer than two pairs, or where all differences are equal and not zero.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if len(differences) < 2:
        return None
    if all(difference == differences[0] for difference in differences):
        return 1.0 if differences[0] == 0 else None
    from scipy.stats import ttest_rel

    return float(ttest_rel(first, second).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests made at once, so that together they err as rarely (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    adjusted, least = [0.0] * len(values), 0.0
    for rank, k in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[k]))
        adjusted[k] = least
    return adjusted
