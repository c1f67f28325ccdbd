"""What a comparison found, as plain data; `compare` fills it, `text` words it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from cnnrun.comparison.groups import Group
from cnnrun.comparison.runs import RunRecord, Split
from cnnrun.comparison.statistics import LEVEL, Interval
from cnnrun.measures import Metric

MOST_IN_ALL_PAIRS = 20
"""With more groups only the best one is tested against each other one."""


@dataclass(frozen=True)
class Result:
    """A group and its final scores."""

    name: str  # the group's own, or A for the best, then B ...
    group: Group
    scores: dict[int, float]  # by seed; NaN where a score was no number
    interval: Interval | None  # None where any score is no number
    deviation: float | None  # the standard deviation between seeds
    # The mean of what groups are ranked by, see `Comparison.ranked_by`, as `interval`.
    rank: Interval | None = None

    @property
    def title(self) -> str:
        """The name, and what it stands for where that is short and the name does not say it."""
        label = self.group.label
        is_letter = not self.group.name
        return f"{self.name} ({label})" if is_letter and len(label) <= 60 else self.name

    @property
    def missing(self) -> str:
        """How many scores are no numbers, in words."""
        bad = sum(not math.isfinite(score) for score in self.scores.values())
        return f"in {bad} of {len(self.scores)} runs"


@dataclass(frozen=True)
class Difference:
    """Two groups under the seeds that they share: first minus second, and how surely."""

    first: Result
    second: Result
    seeds: int
    # Both corrected for the number of tests: the interval excludes 0 exactly where p < LEVEL.
    interval: Interval
    p: float | None  # of the paired t-test; None where none can be made

    @property
    def is_claimed(self) -> bool:
        return self.p is not None and self.p < LEVEL

    @property
    def is_within_noise(self) -> bool | None:
        """Whether the gap is smaller than the spread of seeds in the two groups; None: unknown."""
        spreads = [r.deviation for r in (self.first, self.second) if r.deviation is not None]
        if len(spreads) < 2:
            return None
        pooled = math.sqrt(math.fsum(spread**2 for spread in spreads) / 2)
        return abs(self.interval.mean) < pooled


@dataclass(frozen=True)
class RankedBy:
    """What puts groups in order: of the validation split, wherever there is one."""

    split: Split
    metric: Metric


@dataclass(frozen=True)
class Comparison:
    """Groups, best first, and what can be said of them."""

    metric: Metric
    split: Split  # of `scores`, and of the differences
    ranked_by: RankedBy
    results: list[Result]
    differences: list[Difference]
    left_out: list[RunRecord] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)  # whatever should make a reader careful

    @property
    def more_is_better(self) -> bool:
        return bool(self.metric.higher_is_better)

    @property
    def is_ranked_apart(self) -> bool:
        """Whether groups are ranked by something else than the scores that are compared."""
        return (self.ranked_by.split, self.ranked_by.metric) != (self.split, self.metric)
