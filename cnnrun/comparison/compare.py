"""Comparing groups of runs: means over seeds, and tests of their differences."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from cnnrun.comparison.caveats import caveats_of
from cnnrun.comparison.choice import choose, ranking
from cnnrun.comparison.groups import Group, keys_of_versions, with_distinct_labels
from cnnrun.comparison.results import (
    MOST_IN_ALL_PAIRS,
    Comparison,
    Difference,
    RankedBy,
    Result,
)
from cnnrun.comparison.runs import RunRecord, Split
from cnnrun.comparison.statistics import (
    Interval,
    corrected,
    mean_interval,
    paired_p,
    standard_deviation,
)
from cnnrun.errors import UserError


def compare(
    groups: Sequence[Group],
    metric: str | None = None,
    left_out: Sequence[RunRecord] = (),
    contrasts: Collection[tuple[str, str]] = (),
) -> Comparison:
    """Compare groups by their final scores: on the test split, or the split that all have.

    Best first by validation scores, as the test split must not choose anything.

    metric: by default the task's main one. left_out: damaged runs, which have no group, to be
    reported. Unfinished runs are left out and reported, too. contrasts: pairs of names of groups,
    by default all pairs; the fewer, the less is lost to the correction for multiple tests.

    Raises:
        UserError: no run is finished, none has the metric, its direction is unknown, or it is the
            loss and their losses or tasks differ.
    """
    finished = [run for group in groups for run in group.runs]
    others = [*left_out, *(run for group in groups for run in group.left_out)]
    if not finished:
        states = ", ".join(f"{run.path} ({run.state})" for run in others[:3])
        raise UserError(f"no finished run to compare{': ' if states else ''}{states}")
    lost = [group.label for group in groups if not group.runs]
    groups = with_distinct_labels([group for group in groups if group.runs])
    chosen, split = choose(finished, metric)
    ranked_by = ranking(finished, chosen, split)
    scored = [_result(group, split, chosen.name, ranked_by) for group in groups]
    scored.sort(key=lambda result: _rank(result, bool(ranked_by.metric.higher_is_better)))
    results = [
        replace(result, name=result.group.name or letters(k)) for k, result in enumerate(scored)
    ]
    differences = _differences(list(_pairs(results, contrasts)))
    found = Comparison(chosen, split, ranked_by, results, differences, others)
    return replace(found, caveats=[*caveats_of(found), *_notes(groups, lost)])


def _notes(groups: Sequence[Group], lost: Sequence[str]) -> list[str]:
    notes = [f"no run of {label} finished" for label in lost]
    if versions := keys_of_versions(groups):
        notes.append(
            f"some configs lack {', '.join(versions)}: runs of another version of cnnrun count as "
            "different; --ignore KEY treats them as the same"
        )
    return notes


def _result(group: Group, split: Split, metric: str, ranked_by: RankedBy) -> Result:
    found = _scores(group, split, metric)
    scores, interval = _numbers(found), _interval(found)
    deviation = standard_deviation(list(scores.values())) if interval else None
    rank = _interval(_scores(group, ranked_by.split, ranked_by.metric.name))
    undefined = sum(score is None for score in found.values())
    return Result("", group, scores, interval, deviation, rank, undefined)


def _scores(group: Group, split: Split, metric: str) -> dict[int, float | None]:
    """By seed, of which the newest run counts; None where the metric is undefined."""
    runs = sorted(group.runs, key=lambda run: run.started)
    found = {run.seed: run.score(split, metric) for run in runs}
    return {seed: found[seed] for seed in sorted(found)}


def _numbers(scores: dict[int, float | None]) -> dict[int, float]:
    return {seed: math.nan if score is None else score for seed, score in scores.items()}


def _interval(scores: dict[int, float | None]) -> Interval | None:
    values = list(_numbers(scores).values())
    return mean_interval(values) if all(map(math.isfinite, values)) else None


def _rank(result: Result, more: bool) -> tuple[bool, float]:
    """Best first; NaN comes last."""
    if result.rank is None or result.interval is None:
        return True, 0.0
    return False, -result.rank.mean if more else result.rank.mean


def _differences(pairs: list[tuple[Result, Result]]) -> list[Difference]:
    """Pairs of groups under shared seeds, corrected for the number of tests."""
    found: list[Difference] = []
    tested: list[tuple[int, list[float], float]] = []  # index in `found`, its gaps, its p
    for first, second in pairs:
        seeds = sorted(first.scores.keys() & second.scores.keys())
        one, other = ([result.scores[seed] for seed in seeds] for result in (first, second))
        if not (seeds and first.interval and second.interval):
            continue
        gaps, p = [a - b for a, b in zip(one, other, strict=True)], paired_p(one, other)
        if p is not None:
            tested.append((len(found), gaps, p))
        mean = math.fsum(gaps) / len(gaps)
        found.append(Difference(first, second, len(seeds), Interval(mean, None, None), None))
    together = corrected([gaps for _, gaps, _ in tested], [p for *_, p in tested])
    for (place, *_), (p, interval) in zip(tested, together, strict=True):
        found[place] = replace(found[place], p=p, interval=interval)
    return found


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
