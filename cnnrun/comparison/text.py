"""A comparison as text: tables, and sentences that claim no more than the seeds allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from cnnrun.comparison.groups import informative_keys, short, written
from cnnrun.comparison.results import Comparison, Difference, Result
from cnnrun.comparison.statistics import FEWEST_SEEDS, Interval
from cnnrun.metrics import Metric
from cnnrun.runtime.text_table import columns

# With more differing keys they are printed one per line.
_MOST_COLUMNS = 4
_MOST_IN_ALL_PAIRS, _MOST_SENTENCES = 4, 11
_CELL = 36
_TOO_FEW = " (too few seeds for ±)"


def to_text(comparison: Comparison) -> str:
    """A table of the groups, best first, what can be claimed, and the caveats."""
    results = comparison.results
    settings = [result.group.settings for result in results]
    keys = informative_keys(dict.fromkeys(key for one in settings for key in one), settings)
    head = ["", "seeds", *score_titles(comparison)]
    scores, note = score_rows(comparison)
    rows = [[r.name, str(len(r.scores)), *texts] for r, texts in zip(results, scores, strict=True)]
    differing = [_cells(settings, key) for key in keys]
    is_apart = len(keys) > _MOST_COLUMNS
    if not is_apart:
        head += map(short, keys)
        rows = [[*row, *(cells[k] for cells in differing)] for k, row in enumerate(rows)]
    lines = [*columns([head, *rows]), *note]
    if is_apart:
        names = [result.name for result in results]
        lines += ["", "what differs:"]
        for start in range(0, len(names), _MOST_COLUMNS):
            part = slice(start, start + _MOST_COLUMNS)
            table = [[short(k), *cells[part]] for k, cells in zip(keys, differing, strict=True)]
            lines += [*columns([["", *names[part]], *table], names=(0,)), ""]
        lines.pop()
    lines += ["", *pair_sentences(comparison)]
    if comparison.caveats:
        lines += ["", *(f"warning: {text}" for text in comparison.caveats)]
    return "\n".join(lines)


def _cells(settings: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """A key's values, shortened unless that would make different ones look the same."""
    texts = [written(one[key]) if key in one else "-" for one in settings]
    cut = [t if len(t) <= _CELL else f"{t[: _CELL - 12]}...{t[-9:]}" for t in texts]
    return cut if len(set(cut)) == len(set(texts)) else texts


def score_titles(comparison: Comparison) -> list[str]:
    """Titles of the score columns: the ranking score, if it is another, and the compared one.

    The ranking's comes first.
    """
    own = f"{comparison.split} {comparison.metric.display_name}"
    ranked_by = comparison.ranked_by
    ranking = f"{ranked_by.split} {ranked_by.metric.display_name}"
    return [ranking, own] if comparison.is_ranked_apart else [own]


def score_texts(comparison: Comparison, result: Result) -> list[str]:
    """A group's scores under `score_titles`."""
    count = len(result.scores)
    absent = "NaN" if result.diverged else "-"
    own = figure(comparison.metric, result.interval, count, absent)
    ranking = figure(comparison.ranked_by.metric, result.rank, count, absent)
    return [ranking, own] if comparison.is_ranked_apart else [own]


def score_rows(comparison: Comparison) -> tuple[list[list[str]], list[str]]:
    """`score_texts` of each group for narrow tables: what all would repeat is one line below."""
    rows = [score_texts(comparison, result) for result in comparison.results]
    if not any(_TOO_FEW in text for row in rows for text in row):
        return rows, []
    note = f"(± needs at least {FEWEST_SEEDS} seeds)"
    return [[text.removesuffix(_TOO_FEW) for text in row] for row in rows], [note]


def figure(metric: Metric, interval: Interval | None, seeds: int, absent: str) -> str:
    """A group's mean score and half the width of its 95 % interval; `absent` without a mean."""
    if interval is None:
        return absent
    mean, low, high = interval
    shown = metric.text(mean)
    if low is None or high is None:
        return shown
    if seeds < FEWEST_SEEDS:
        return shown + _TOO_FEW
    reach = (high - low) / 2 * metric.scale
    return f"{shown} ± {reach:.2f}" if metric.unit == "%" else f"{shown} ± {reach:.2g}"


def conclusion(comparison: Comparison) -> str:
    """One sentence about the two best groups."""
    if len(comparison.results) < 2:
        return "There is only one group: nothing to compare."
    first, second = comparison.results[:2]
    return sentence(comparison, first, second)


def sentence(comparison: Comparison, first: Result, second: Result, full: bool = True) -> str:
    """What can be claimed about two groups, the first ranked before the second.

    full: with the groups' settings next to their letters.
    """
    for result in (first, second):
        if result.interval is None:
            return f"{_called(result, full)} {result.missing} and is ranked last."
    pair = f"between {_called(first, full)} and {_called(second, full)}"
    found = _difference(comparison, first, second)
    if found is None:
        return f"No difference can be claimed {pair}: no seed or no test in common."
    gap = comparison.metric.gap(abs(found.interval.mean))
    if found.seeds < 2:
        return f"No difference can be claimed {pair} from one shared seed (gap {gap})."
    if found.p is None:
        return (
            f"No difference can be claimed {pair}: the gap is {gap} in all {found.seeds} shared "
            "seeds, and without a spread there is no test."
        )
    seeds = f"{found.seeds} shared seeds"
    if not found.is_claimed:
        if found.seeds < FEWEST_SEEDS:
            return f"No difference can be claimed {pair}: {seeds} are too few (gap {gap})."
        detail = f"gap {gap}, {_detail(comparison, found)}"
        return f"No difference can be claimed {pair} from {seeds} ({detail})."
    better, worse = (_called(result, full) for result in _in_order(comparison, found))
    return (
        f"{better} is better than {worse} by {gap} of {comparison.metric.display_name} "
        f"({_detail(comparison, found)}, {seeds})."
    )


def _detail(comparison: Comparison, found: Difference) -> str:
    p = f"p = {found.p:.2g}"
    if found.interval.low is None or found.seeds < FEWEST_SEEDS:
        return p
    return f"95 % interval {_range(comparison, found)}, {p}"


def _called(result: Result, full: bool) -> str:
    return result.title if full else result.name


def _difference(comparison: Comparison, first: Result, second: Result) -> Difference | None:
    same = (d for d in comparison.differences if d.first is first and d.second is second)
    return next(same, None)


def _in_order(comparison: Comparison, found: Difference) -> tuple[Result, Result]:
    """The better one first: under shared seeds only, that may not be the better ranked one."""
    leads = (found.interval.mean > 0) == comparison.more_is_better
    return (found.first, found.second) if leads else (found.second, found.first)


def _range(comparison: Comparison, found: Difference) -> str:
    """The interval of the gap, with the sign that makes the gap positive."""
    mean, low, high = found.interval
    assert low is not None
    assert high is not None
    low, high = (low, high) if mean >= 0 else (-high, -low)
    ends = (comparison.metric.gap(end, unit=False) for end in (low, high))
    return " to ".join(ends)


def pair_sentences(comparison: Comparison) -> list[str]:
    """All pairs of groups, or for many groups the best against the others."""
    results = comparison.results
    if len(results) < 2:
        return [conclusion(comparison)]
    few = len(results) <= _MOST_IN_ALL_PAIRS
    pairs = list(combinations(results, 2) if few else ((results[0], r) for r in results[1:]))
    full = len(pairs) == 1  # with more, the table above explains the letters
    lines = [sentence(comparison, *pair, full) for pair in pairs[:_MOST_SENTENCES]]
    if len(pairs) > _MOST_SENTENCES:
        lines.append(f"... and {len(pairs) - _MOST_SENTENCES} more: --json has them all")
    tests = sum(d.p is not None for d in comparison.differences)
    if tests:
        together = f", intervals and p corrected together for {tests} tests" if tests > 1 else ""
        lines.append(
            "(±: 95 % interval of a mean, Student's t over seeds; gaps: paired t-test over shared "
            f"seeds{together})"
        )
    return list(dict.fromkeys(lines))


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain values for scripts; NaN becomes None."""
    ranked_by = comparison.ranked_by
    return {
        "metric": comparison.metric.name,
        "measure": comparison.metric.name,  # the former name, for scripts
        "split": comparison.split,
        "ranked_by": f"{ranked_by.split}_{ranked_by.metric.name}",
        "more_is_better": comparison.more_is_better,
        "groups": [_result_to_dict(result) for result in comparison.results],
        "differences": [_difference_to_dict(comparison, d) for d in comparison.differences],
        "left_out": [{"run": str(run.path), "state": run.state} for run in comparison.left_out],
        "warnings": comparison.caveats,
        "conclusion": conclusion(comparison),
    }


def _result_to_dict(result: Result) -> dict[str, Any]:
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
        "ranked_by": result.rank.mean if result.rank else None,
    }


def _difference_to_dict(comparison: Comparison, found: Difference) -> dict[str, Any]:
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
