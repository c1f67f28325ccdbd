"""Statistics of small samples: intervals, and tests of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.05
"""A difference is claimed if its corrected p-value is below this."""

FEWEST_SEEDS = 3
"""With fewer, an interval is too wide to be useful (Student's factor is 12.7 for two)."""


class Interval(NamedTuple):
    """A mean and its interval; `low` and `high` are None for too few values."""

    mean: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], level: float = 1 - LEVEL) -> Interval:
    """The mean of independent runs and Student's interval for it (Student 1908).

    It covers the true mean with probability `level` if the values are normally distributed. Equal
    values have no spread to judge by: no interval, as for a single one.
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
    """Sample standard deviation (n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def paired_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The p-value of the mean difference of pairs (paired t-test).

    Two-sided, as `scipy.stats.ttest_rel`. None for fewer than two pairs, or if all differences are
    equal and not zero, up to rounding: without spread there is no test.
    """
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    if len(gaps) < 2:
        return None
    size = max(map(abs, [*first, *second]))
    if max(gaps) - min(gaps) <= 1e-12 * size:
        return 1.0 if max(map(abs, gaps)) <= 1e-12 * size else None
    from scipy.stats import ttest_rel

    return float(ttest_rel(first, second).pvalue)


def corrected(
    samples: Sequence[Sequence[float]], values: Sequence[float]
) -> list[tuple[float, Interval]]:
    """Corrected p-values and intervals of several paired tests.

    samples: the differences of each test's pairs. values: the p-value of each.

    By Bonferroni: each p-value is multiplied by the number of tests, and each interval has the
    level 1 - 0.05 / tests. So an interval excludes zero exactly if the corrected p-value is below
    0.05, and all intervals together cover the true differences with 95 % probability. Holm's
    p-values are smaller, but have no such intervals.
    """
    tests = len(values)
    return [
        (min(1.0, tests * p), mean_interval(sample, 1 - LEVEL / tests))
        for sample, p in zip(samples, values, strict=True)
    ]


def cross_validated_interval(
    values: Sequence[float], folds: int | None = None, level: float = 1 - LEVEL
) -> Interval:
    """The mean over the folds of a cross-validation, and its corrected interval.

    Folds are not independent runs: any two of K share K-2 parts for training, so scores scatter
    less than their error, and Student's interval is too narrow. Nadeau & Bengio (2003) replace 1/K
    by 1/K + n_test/n_train, here 1/K + 1/(K-1). Of a cross-validation repeated R times under other
    seeds it is 1/RK + 1/(K-1) (Bouckaert & Frank 2004).

    folds: K; by default as many as there are values.
    """
    count, folds = len(values), folds or len(values)
    plain = mean_interval(values, level)
    if plain.low is None or plain.high is None:
        return plain
    wider = math.sqrt(1 + count / (folds - 1))
    return Interval(
        plain.mean,
        plain.mean - wider * (plain.mean - plain.low),
        plain.mean + wider * (plain.high - plain.mean),
    )
