"""A comparison in words: tables, and sentences that claim no more than the seeds allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from cnnrun.comparison.compare import Comparison, Difference, Result
from cnnrun.comparison.groups import short, telling_keys, written
from cnnrun.comparison.table import columns
from cnnrun.measures import SHARES, show, show_gap

# With more differing keys they stand below one another.
_MOST_COLUMNS = 4
_MOST_IN_ALL_PAIRS, _MOST_SENTENCES = 4, 11
_CELL = 36


def as_text(comparison: Comparison) -> str:
    """See `Comparison.as_text`."""
    results = comparison.results
    settings = [result.group.settings for result in results]
    keys = telling_keys(dict.fromkeys(key for one in settings for key in one), settings)
    head = ["", "seeds", f"{comparison.split} {comparison.measure}"]
    rows = [[r.name, str(len(r.scores)), figure(comparison, r)] for r in results]
    differing = [_cells(settings, key) for key in keys]
    lines = []
    if len(keys) <= _MOST_COLUMNS:
        head += [short(key) for key in keys]
        rows = [[*row, *(cells[k] for cells in differing)] for k, row in enumerate(rows)]
    lines += columns([head, *rows])
    if len(keys) > _MOST_COLUMNS:
        names = [result.name for result in results]
        lines += ["", "what differs:"]
        for start in range(0, len(names), _MOST_COLUMNS):
            part = slice(start, start + _MOST_COLUMNS)
            table = [[short(k), *cells[part]] for k, cells in zip(keys, differing, strict=True)]
            lines += [*columns([["", *names[part]], *table]), ""]
        lines.pop()
    lines += ["", *pair_sentences(comparison)]
    if comparison.warnings:
        lines += ["", *(f"warning: {text}" for text in comparison.warnings)]
    return "\n".join(lines)


def _cells(settings: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """A key's values, shortened unless that would make different ones look the same."""
    texts = [written(one[key]) if key in one else "-" for one in settings]
    cut = [t if len(t) <= _CELL else f"{t[: _CELL - 12]}...{t[-9:]}" for t in texts]
    return cut if len(set(cut)) == len(set(texts)) else texts


def figure(comparison: Comparison, result: Result) -> str:
    """A group's mean score and half the width of its 95 % interval."""
    if result.interval is None:
        return "no number"
    mean, low, high = result.interval
    shown = show(comparison.measure, mean)
    if low is None or high is None:
        return shown
    reach = (high - low) / 2
    return (
        f"{shown} ± {100 * reach:.2f}" if comparison.measure in SHARES else f"{shown} ± {reach:.2g}"
    )


def conclusion(comparison: Comparison) -> str:
    """See `Comparison.conclusion`."""
    if len(comparison.results) < 2:
        return "There is one group only: nothing to compare."
    first, second = comparison.results[:2]
    return sentence(comparison, first, second)


def sentence(comparison: Comparison, first: Result, second: Result, full: bool = True) -> str:
    """What can be claimed of two groups, of which the first is ranked before the second.

    full: with the groups' settings beside their letters.
    """
    for result in (first, second):
        if result.interval is None:
            return f"{_called(result, full)} gave no number {result.missing} and is ranked last."
    pair = f"between {_called(first, full)} and {_called(second, full)}"
    found = _difference(comparison, first, second)
    if found is None:
        return f"No difference can be claimed {pair}: no seed or no test in common."
    gap = show_gap(comparison.measure, abs(found.interval.mean))
    if found.seeds < 2:
        return f"No difference can be claimed {pair} from one shared seed (gap {gap})."
    if found.p is None:
        return (
            f"No difference can be claimed {pair}: the gap is {gap} in all {found.seeds} shared "
            "seeds, and without a spread there is no test."
        )
    detail = f"95 % interval {_range(comparison, found)}, p = {found.p:.2g}"
    if found.is_claimed:
        better, worse = (_called(result, full) for result in _in_order(comparison, found))
        return (
            f"{better} is better than {worse} by {gap} of {comparison.measure} "
            f"({detail}, {found.seeds} shared seeds)."
        )
    seeds = f"{found.seeds} shared seeds"
    return f"No difference can be claimed {pair} from {seeds} (gap {gap}, {detail})."


def _called(result: Result, full: bool) -> str:
    return result.title if full else result.name


def _difference(comparison: Comparison, first: Result, second: Result) -> Difference | None:
    same = (d for d in comparison.differences if d.first is first and d.second is second)
    return next(same, None)


def _in_order(comparison: Comparison, found: Difference) -> tuple[Result, Result]:
    """The better one first: under the shared seeds alone, that may not be the better ranked."""
    leads = (found.interval.mean > 0) == comparison.more_is_better
    return (found.first, found.second) if leads else (found.second, found.first)


def _range(comparison: Comparison, found: Difference) -> str:
    """The interval of the gap, turned so that the gap itself is positive."""
    mean, low, high = found.interval
    assert low is not None
    assert high is not None
    low, high = (low, high) if mean >= 0 else (-high, -low)
    ends = (show_gap(comparison.measure, end, unit=False) for end in (low, high))
    return " to ".join(ends)


def pair_sentences(comparison: Comparison) -> list[str]:
    """Each group against each other one, or of many groups the best against the others."""
    results = comparison.results
    if len(results) < 2:
        return [conclusion(comparison)]
    few = len(results) <= _MOST_IN_ALL_PAIRS
    pairs = list(combinations(results, 2) if few else ((results[0], r) for r in results[1:]))
    full = len(pairs) == 1  # of more, the table above says what the letters mean
    lines = [sentence(comparison, *pair, full) for pair in pairs[:_MOST_SENTENCES]]
    if len(pairs) > _MOST_SENTENCES:
        lines.append(f"... and {len(pairs) - _MOST_SENTENCES} more: --json has them all")
    tests = sum(d.p is not None for d in comparison.differences)
    if tests:
        corrected = f", corrected for {tests} tests (Holm)" if tests > 1 else ""
        lines.append(
            f"(± and intervals: 95 %, Student's t over seeds; p: paired t-test{corrected})"
        )
    return list(dict.fromkeys(lines))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """See `Comparison.to_dict`."""
    return {
        "measure": comparison.measure,
        "split": comparison.split,
        "more_is_better": comparison.more_is_better,
        "groups": [_result_as_dict(result) for result in comparison.results],
        "differences": [_difference_as_dict(comparison, d) for d in comparison.differences],
        "left_out": [{"run": str(run.path), "state": run.state} for run in comparison.left_out],
        "warnings": comparison.warnings,
        "conclusion": comparison.conclusion,
    }


def _result_as_dict(result: Result) -> dict[str, Any]:
    interval = result.interval or (None, None, None)
    return {
        "name": result.name,
        "label": result.group.label,
        "settings": result.group.settings,
        "runs": [str(run.path) for run in result.group.runs],
        "scores": {
            str(seed): score if math.isfinite(score) else None
            for seed, score in result.scores.items()
        },
        **dict(zip(("mean", "low", "high"), interval, strict=True)),
        "deviation": result.deviation,
    }


def _difference_as_dict(comparison: Comparison, found: Difference) -> dict[str, Any]:
    return {
        "first": found.first.name,
        "second": found.second.name,
        "seeds": found.seeds,
        **found.interval._asdict(),
        "p": found.p,
        "claimed": found.is_claimed,
        "within_noise": found.is_within_noise,
        "sentence": sentence(comparison, found.first, found.second),
    }
