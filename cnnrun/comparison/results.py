"""Results of a comparison, as plain data; `compare` fills them in, `text` formats them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from cnnrun.comparison.groups import Group
from cnnrun.comparison.runs import RunRecord, Split
from cnnrun.comparison.statistics import LEVEL, Interval
from cnnrun.metrics import Metric

MOST_IN_ALL_PAIRS = 20
"""With more groups, only the best one is tested against each of the others."""


@dataclass(frozen=True)
class Result:
    """A group and its final scores."""

    name: str  # the group's own, or A for the best, then B ...
    group: Group
    scores: dict[int, float]  # by seed; may be NaN
    interval: Interval | None  # None if any score is NaN
    deviation: float | None  # the standard deviation between seeds
    # The mean of the ranking score, see `Comparison.ranked_by`; None like `interval`.
    rank: Interval | None = None
    undefined: int = 0  # the number of scores that are undefined, NaN in `scores`

    @property
    def title(self) -> str:
        """The name, with the settings if they are short and the name does not say them."""
        label = self.group.label
        is_letter = not self.group.name
        return f"{self.name} ({label})" if is_letter and len(label) <= 60 else self.name

    @property
    def missing(self) -> str:
        """What is said of scores that are NaN, where a run diverged, or undefined."""
        bad = self.undefined + self.diverged
        why = "undefined" if self.undefined else "NaN"
        if self.undefined and self.diverged:
            why = f"NaN in {self.diverged}, undefined in {self.undefined}"
        return f"has no score in {bad} of {len(self.scores)} runs ({why})"

    @property
    def diverged(self) -> int:
        """The number of scores that are NaN or infinite though they are defined."""
        return sum(not math.isfinite(s) for s in self.scores.values()) - self.undefined


@dataclass(frozen=True)
class Difference:
    """Two groups under shared seeds: first minus second, with confidence."""

    first: Result
    second: Result
    seeds: int
    # Both corrected for the number of tests: the interval excludes 0 exactly where p < LEVEL.
    interval: Interval
    p: float | None  # of the paired t-test; None if impossible

    @property
    def is_claimed(self) -> bool:
        return self.p is not None and self.p < LEVEL

    @property
    def is_within_noise(self) -> bool | None:
        """Whether the gap is smaller than the spread over seeds in the groups; None: unknown."""
        spreads = [r.deviation for r in (self.first, self.second) if r.deviation is not None]
        if len(spreads) < 2:
            return None
        pooled = math.sqrt(math.fsum(spread**2 for spread in spreads) / 2)
        return abs(self.interval.mean) < pooled


@dataclass(frozen=True)
class RankedBy:
    """The score that ranks groups: on the validation split, if there is one."""

    split: Split
    metric: Metric


@dataclass(frozen=True)
class Comparison:
    """Groups, best first, and what can be said about them."""

    metric: Metric
    split: Split  # of `scores`, and of the differences
    ranked_by: RankedBy
    results: list[Result]
    differences: list[Difference]
    left_out: list[RunRecord] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)  # caveats

    @property
    def more_is_better(self) -> bool:
        return bool(self.metric.higher_is_better)

    @property
    def is_ranked_apart(self) -> bool:
        """Whether groups are ranked by another score than the compared one."""
        return (self.ranked_by.split, self.ranked_by.metric) != (self.split, self.metric)
