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
    """The mean of independent runs and Student's interval for it (Student 1908).

    It covers the true mean as often as `level` says where the values scatter normally. Values that
    are all the same have no spread to judge by: no interval, like a single one.
    """
    count = len(values)
    mean = math.fsum(values) / count
    deviation = standard_deviation(values)
    if deviation is None or min(values) == max(values):
        return Interval(mean, None, None)
    from scipy.special import stdtrit  # `scipy.stats.t.ppf` is this, and takes 0.5 s to import

    reach = float(stdtrit(count - 1, (1 + level) / 2)) * deviation / math.sqrt(count)
    return Interval(mean, mean - reach, mean + reach)


def standard_deviation(values: Sequence[float]) -> float | None:
    """Of the population that the values are a sample of (n - 1); None for fewer than two."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def paired_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """How likely so large a mean difference of pairs is where there is none (paired t-test).

    Two-sided, as `scipy.stats.ttest_rel`. None for fewer than two pairs, or where all differences
    are equal and not zero, up to rounding: without a spread there is no test.
    """
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    if len(gaps) < 2:
        return None
    size = max(map(abs, [*first, *second]))
    if max(gaps) - min(gaps) <= 1e-12 * size:
        return 1.0 if max(map(abs, gaps)) <= 1e-12 * size else None
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
