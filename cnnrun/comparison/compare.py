"""Groups of runs against one another: the means over seeds, and tests of their differences."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from cnnrun.comparison.groups import Group, keys_of_versions, told_apart
from cnnrun.comparison.runs import SPLITS, Run, Split
from cnnrun.comparison.statistics import (
    Interval,
    holm,
    mean_interval,
    paired_p,
    standard_deviation,
)
from cnnrun.errors import UserError, did_you_mean
from cnnrun.measures import main_measure, more_is_better

LEVEL = 0.05
"""A difference is claimed where its corrected p-value is below this."""

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
    interval: Interval
    p: float | None  # of the paired t-test, corrected; None where none can be made

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
class Comparison:
    """Groups, best first, and what can be said of them."""

    measure: str
    split: Split
    more_is_better: bool
    results: list[Result]
    differences: list[Difference]
    left_out: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def warnings(self) -> list[str]:
        """Whatever should make a reader careful."""
        from cnnrun.comparison.caveats import warnings_of

        return warnings_of(self)

    @property
    def conclusion(self) -> str:
        """One sentence about the two best groups."""
        from cnnrun.comparison.text import conclusion

        return conclusion(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for scripts; what is no number is None."""
        from cnnrun.comparison.text import as_dict

        return as_dict(self)

    def as_text(self) -> str:
        """A table of the groups, best first, what can be claimed, and the warnings."""
        from cnnrun.comparison.text import as_text

        return as_text(self)


def compare(
    groups: Sequence[Group],
    measure: str | None = None,
    left_out: Sequence[Run] = (),
    contrasts: Collection[tuple[str, str]] = (),
) -> Comparison:
    """Compare groups by their final scores: of the test split, or what all of them have.

    measure: by default what the runs' task is measured by. left_out: runs that have no group
    because they are damaged, to be told. Runs that did not finish are left out and told, too.
    contrasts: pairs of names of groups, by default each with each; the fewer, the less is lost to
    the correction for many tests.

    Raises:
        UserError: no run is finished, none has the measure, or their tasks have none in common.
    """
    finished = [run for group in groups for run in group.runs]
    others = [*left_out, *(run for group in groups for run in group.left_out)]
    if not finished:
        states = ", ".join(f"{run.path} ({run.state})" for run in others[:3])
        raise UserError(f"no finished run to compare{': ' if states else ''}{states}")
    lost = [group.label for group in groups if not group.runs]
    groups = told_apart([group for group in groups if group.runs])
    measure, split = _choose(finished, measure)
    more = more_is_better(measure, finished[0].task)
    notes = [f"no run of {label} finished" for label in lost]
    if versions := keys_of_versions(groups):
        notes.append(
            f"some configs lack {', '.join(versions)}: runs of another version of cnnrun count as "
            "different; --ignore KEY lets them be alike"
        )
    scored = [_result(group, split, measure) for group in groups]
    scored.sort(key=lambda result: _rank(result, more))
    results = [
        replace(result, name=result.group.name or letters(k)) for k, result in enumerate(scored)
    ]
    differences = _differences(list(_pairs(results, contrasts)))
    return Comparison(measure, split, more, results, differences, others, notes)


def _choose(runs: Sequence[Run], measure: str | None) -> tuple[str, Split]:
    """The measure, and the split on which the most runs have it; of equals the test split."""
    known = list(dict.fromkeys(m for run in runs for s in SPLITS for m in run.measures[s]))
    if measure is not None and measure not in known:
        hint = did_you_mean(measure, known) or f"; there are {', '.join(known)}"
        raise UserError(f"no finished run was measured by '{measure}'{hint}")
    shared = [m for m in known if all(any(m in r.measures[s] for s in SPLITS) for r in runs)]
    tasks = list(dict.fromkeys(run.task for run in runs))
    if measure is None and len(tasks) > 1:
        raise UserError(
            f"these are runs of different tasks ({', '.join(tasks)}): compare those of one, or say "
            "by what with --measure"
        )
    chosen = measure or main_measure(tasks[0], shared or known)
    if chosen is None:
        raise UserError("the finished runs have no scores")
    return chosen, max(SPLITS, key=lambda split: sum(chosen in r.measures[split] for r in runs))


def _result(group: Group, split: Split, measure: str) -> Result:
    """Of several runs of one seed the newest counts; a run without the measure is no number."""
    runs = sorted(group.runs, key=lambda run: run.started)
    found = {run.seed: run.score(split, measure) for run in runs}
    scores = {k: math.nan if (v := found[k]) is None else v for k in sorted(found)}
    values = list(scores.values())
    if not all(map(math.isfinite, values)):
        return Result("", group, scores, None, None)
    return Result("", group, scores, mean_interval(values), standard_deviation(values))


def _rank(result: Result, more: bool) -> tuple[bool, float]:
    """Best first; what is no number comes last."""
    if result.interval is None:
        return True, 0.0
    return False, -result.interval.mean if more else result.interval.mean


def _differences(pairs: list[tuple[Result, Result]]) -> list[Difference]:
    """Pairs of groups under shared seeds, p-values corrected for the number of tests."""
    found = []
    for first, second in pairs:
        seeds = sorted(first.scores.keys() & second.scores.keys())
        one, other = ([result.scores[seed] for seed in seeds] for result in (first, second))
        if seeds and first.interval and second.interval:
            p = paired_p(one, other)
            gap = mean_interval([a - b for a, b in zip(one, other, strict=True)])
            interval = gap if p is not None else Interval(gap.mean, None, None)
            found.append(Difference(first, second, len(seeds), interval, p))
    corrected = iter(holm([d.p for d in found if d.p is not None]))
    return [
        d if d.p is None else Difference(d.first, d.second, d.seeds, d.interval, next(corrected))
        for d in found
    ]


def _pairs(
    results: list[Result], contrasts: Collection[tuple[str, str]]
) -> Iterator[tuple[Result, Result]]:
    """The better ranked of a pair first."""
    if contrasts:
        wanted = {frozenset(pair) for pair in contrasts}
        every = combinations(results, 2)
        yield from (pair for pair in every if frozenset(r.name for r in pair) in wanted)
    elif len(results) <= MOST_IN_ALL_PAIRS:
        yield from combinations(results, 2)
    else:
        yield from ((results[0], other) for other in results[1:])


def letters(number: int) -> str:
    """A, B ... Z, AA, AB ... as spreadsheets name columns; `number` counts from 0."""
    text = ""
    while number >= 0:
        text = chr(ord("A") + number % 26) + text
        number = number // 26 - 1
    return text
