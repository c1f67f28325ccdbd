"""Caveats of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from cnnrun.comparison.results import MOST_IN_ALL_PAIRS, Comparison, Result
from cnnrun.comparison.runs import RunRecord

_MOST_NAMED = 5


def caveats_of(comparison: Comparison) -> list[str]:
    """Sentences about the runs, the ranking and the scores; those about groups name them."""
    found = [_left_out(state, runs) for state, runs in _by_state(comparison.left_out).items()]
    found += [text for result in comparison.results for text in _doubts(result)]
    alone = [result.name for result in comparison.results if len(result.scores) == 1]
    if alone:
        found.append(f"one seed only, so the spread is not known: {_some(alone)}")
    for difference in comparison.differences:
        names = (difference.first.name, difference.second.name)
        adjacent = names == tuple(result.name for result in comparison.results[:2])
        if adjacent and difference.is_within_noise:
            gap = comparison.metric.gap(abs(difference.interval.mean))
            found.append(
                f"the gap between {names[0]} and {names[1]} ({gap}) lies within the noise of seeds"
            )
    if len(comparison.results) > MOST_IN_ALL_PAIRS:
        found.append(
            f"more than {MOST_IN_ALL_PAIRS} groups: only the best is tested against each other"
        )
    runs = [run for result in comparison.results for run in result.group.runs]
    return found + _of_data(runs) + _of_choosing(comparison)


# Keys of data sources that say where the data are.
_PLACES = ("name", "root", "file", "path", "train", "test", "target")


def _of_data(runs: Sequence[RunRecord]) -> list[str]:
    """Data in one place that changed between trainings of the runs."""
    states: dict[tuple[str, ...], set[str]] = {}
    for run in runs:
        place = tuple(str(run.settings.get(f"dataset.{key}", "")) for key in _PLACES)
        if run.summary.get("data"):
            states.setdefault(place, set()).add(str(run.summary["data"]))
    return [
        f"the data in {next(filter(None, place[1:]), place[0])} changed between these runs "
        f"({len(found)} states): that also changes their scores"
        for place, found in states.items()
        if len(found) > 1
    ]


def _of_choosing(comparison: Comparison) -> list[str]:
    """Caveats on how epochs and groups were chosen."""
    found = []
    name, ranked_by = comparison.metric.display_name, comparison.ranked_by
    runs = [run for result in comparison.results for run in result.group.runs]
    monitors = sorted({run.monitor for run in runs if run.monitor})
    if len(monitors) > 1:
        found.append(
            f"the best epochs were chosen by different metrics ({', '.join(monitors)}), so a run "
            f"chosen by {monitors[0]} is at an advantage where that is compared"
        )
    if ranked_by.split == "test" and len(comparison.results) > 1:
        found.append(
            f"without a validation {name} of every run, the test score itself ranks the groups: "
            "the first one's is slightly optimistic"
        )
    elif comparison.split != "test" and ranked_by.split == comparison.split == "validation":
        found.append(
            f"there is no test {name}: the validation split that chose each run's "
            "best epoch also scores it, slightly optimistically"
        )
    return found


def _by_state(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.state, []).append(run)
    return found


def _left_out(state: str, runs: Sequence[RunRecord]) -> str:
    counted = f"{len(runs)} {state} run{'s are' if len(runs) != 1 else ' is'} left out"
    return f"{counted}: {_some([f'{r.path} ({r.remark})' if r.remark else r.path for r in runs])}"


def _some(names: Sequence[object]) -> str:
    """The first few of `names`."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(str, names[:_MOST_NAMED])) + more


def _doubts(result: Result) -> list[str]:
    """Caveats on one group's scores."""
    doubts = []
    runs, scores = result.group.runs, result.scores
    if result.interval is None:
        doubts.append(f"{result.title} {result.missing}: ranked last")
    if result.group.left_out:
        whole = len(runs) + len(result.group.left_out)
        doubts.append(
            f"{len(runs)} of {whole} runs of {result.title} finished; if the others failed because "
            "of their settings, its score is too optimistic"
        )
    if len(runs) > len(scores):
        doubts.append(f"{result.title} has several runs of one seed: the newest is used")
    if len(scores) > 1 and len(set(scores.values())) == 1 and result.interval:
        doubts.append(
            f"different seeds of {result.title} gave identical results: is the seed used? "
            "Does it learn at all?"
        )
    elif repeated := _seeds_with_one_log(runs):
        doubts.append(
            f"seeds {_some(repeated)} of {result.title} have the same log, epoch by epoch"
        )
    return doubts


def _seeds_with_one_log(runs: Sequence[RunRecord]) -> list[int]:
    """Seeds with identical logs."""
    by_log: dict[str, set[int]] = {}
    for run in runs:
        if run.rows:
            by_log.setdefault(repr(run.rows), set()).add(run.seed)
    return sorted(seed for seeds in by_log.values() if len(seeds) > 1 for seed in seeds)
