"""What the report of many runs shows: groups, what can be claimed, curves, trials, parameters."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnrun.comparison import Comparison, Group, Result, compare, group_runs
from cnnrun.comparison.groups import short, telling_keys, written
from cnnrun.comparison.runs import Run
from cnnrun.comparison.text import figure, pair_sentences
from cnnrun.errors import UserError
from cnnrun.measures import SHARES, show
from cnnrun.report.figures import pictures
from cnnrun.report.line_chart import MOST_LINES, Line, line_chart, shown_epochs
from cnnrun.report.page import Section, details, page, sentences, table
from cnnrun.report.parallel import parallel
from cnnrun.report.trials import importances, setting, standing_of, trials
from cnnrun.runtime.reading import read_json

if TYPE_CHECKING:
    from cnnrun.multirun.sweep.sweep import Standing

MOST_TRIALS = 2000
"""Rows of the table of runs; a page with more would not open quickly."""

_MANY_DIGITS = re.compile(r"\d+\.\d{5,}(e-?\d+)?")
_BRIEF = 32  # letters of a line's name beside its letter


def report(
    runs: Sequence[Run],
    title: str,
    folder: Path,
    plugins: Sequence[str] = (),
    storage: str | None = None,
) -> str:
    """The HTML page of many runs: a sweep's, a study's, or those that a shell loop left.

    folder: where they lie, for what a sweep or a study left there. storage: of a sweep's trials, if
    not there. Runs that can't be compared
    (none is finished, or they have no measure in common) are listed, with the reason.
    """
    damaged = [run for run in runs if run.state == "damaged"]
    groups = _named(group_runs(runs))
    study, (standing, problem) = _study(folder), standing_of(folder, plugins, storage)
    lead = f"{len(runs)} runs in {len(groups)} group{'s' if len(groups) != 1 else ''}"
    try:
        comparison = compare(groups, left_out=damaged)
    except UserError as error:
        keys = list(dict.fromkeys(key for group in groups for key in group.settings))
        told = sentences([f"Not compared: {error}", *filter(None, [problem])], "warning")
        sections = [Section("Findings", told)]
        sections += [trials(standing.results)] if standing else []
        sections.append(Section("Runs", _runs(runs, keys, None)))
    else:
        keys = _keys(comparison)
        findings = _findings(comparison, study) + sentences([*filter(None, [problem])], "warning")
        sections = [Section("Findings", findings), Section("Groups", _groups(comparison))]
        sections.append(Section("Curves", _curves(comparison)))
        sections += [trials(standing.results)] if standing else []
        if keys:
            sections.append(Section("Settings", _parallel(comparison, keys)))
            sections.append(Section("Importance", _importance(comparison, keys, standing)))
        sections.append(Section("Runs", _runs(runs, keys, comparison)))
        lead += f", compared by {comparison.split} {comparison.measure}"
    drawn = [folder / Path(str(name)).name for name in study.get("pictures") or []]
    if found := pictures([file for file in drawn if file.is_file()]):
        sections.append(Section("Pictures", found))
    return page(title, str(study.get("about") or f"{lead}."), sections)


def _named(groups: list[Group]) -> list[Group]:
    """Groups by their runs' names, where each has one of its own, as in a study."""
    names = [{run.name for run in (*group.runs, *group.left_out)} for group in groups]
    if not 1 < len(groups) == len(set().union(*names)) == sum(map(len, names)):
        return groups
    return [replace(group, name=name) for group, (name,) in zip(groups, names, strict=True)]


def _study(folder: Path) -> dict[str, Any]:
    """What `cnnrun study` left in `folder`; {} where it did not."""
    try:
        found = read_json(folder / "study.json")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _findings(comparison: Comparison, study: dict[str, Any]) -> str:
    said = study.get("sentences") or pair_sentences(comparison)
    warnings = [f"Warning: {text}" for text in comparison.warnings]
    return sentences(list(map(str, said)), "finding") + sentences(warnings, "warning")


def _keys(comparison: Comparison) -> list[str]:
    """The settings that tell groups apart."""
    settings = [result.group.settings for result in comparison.results]
    return telling_keys(dict.fromkeys(key for one in settings for key in one), settings)


def _groups(comparison: Comparison) -> str:
    keys = _keys(comparison)
    head = ["group", "seeds", f"{comparison.split} {comparison.measure}", *map(short, keys)]
    rows = [
        [
            result.name,
            len(result.scores),
            (_mean(result), figure(comparison, result)),
            *(setting(result.group.config, key) for key in keys),
        ]
        for result in comparison.results
    ]
    words = "mean over seeds ± half of its 95 % interval"
    return table(f"Groups, the best first: {words}", head, rows)


def _mean(result: Result) -> float | None:
    return result.interval.mean if result.interval else None


def _curves(comparison: Comparison) -> str:
    measures = dict.fromkeys((comparison.measure, "loss"))
    drawn, numbers = [], []
    for measure in measures:
        for split in ("validation", "train"):
            lines = _lines(comparison, f"{split}_{measure}", 100 if measure in SHARES else 1)
            if lines:
                x = shown_epochs(max(len(line.values) for line in lines))
                lines = [line.at(x) for line in lines]
                unit = " %" if measure in SHARES else ""
                drawn.append(line_chart(f"{split} {measure}", x, lines, unit))
                numbers.append(_numbers_of(f"{split} {measure}{unit}", lines, x))
    more = len(comparison.results) - MOST_LINES
    beyond = f" Of {more} more groups there are no curves." if more > 0 else ""
    words = f"Means over seeds, bands of one standard deviation; names as in the table.{beyond}"
    charts = f'<div class="charts">{"".join(drawn)}</div>'
    return sentences([words]) + charts + details("The numbers", "".join(numbers))


def _lines(comparison: Comparison, key: str, scale: int) -> list[Line]:
    found = []
    for result in comparison.results[:MOST_LINES]:
        logs = [[row.get(key) for row in run.rows] for run in result.group.runs if run.rows]
        epochs = min(map(len, logs), default=0)
        columns = [_numbers([log[k] for log in logs], scale) for k in range(epochs)]
        if any(columns):
            means = [statistics.fmean(column) if column else None for column in columns]
            spread = [statistics.stdev(c) if len(c) > 1 else None for c in columns]
            found.append(Line(_called(result), means, spread))
    return found


def _called(result: Result) -> str:
    """The letter, or with its settings where they are short; the table of groups has them all."""
    brief = _MANY_DIGITS.sub(lambda found: f"{float(found[0]):.4g}", result.group.brief)
    settled = result.group.settings and not result.group.name and len(brief) <= _BRIEF
    return f"{result.name} ({brief})" if settled else result.name


def _numbers_of(title: str, lines: Sequence[Line], x: Sequence[int]) -> str:
    """The lines as a table, a row an epoch."""

    def cell(line: Line, k: int) -> Any:
        value, spread = (v[k] if k < len(v) else None for v in (line.values, line.spread))
        around = "" if spread is None else f" ± {spread:.2g}"
        return (None, "-") if value is None else (value, f"{value:.5g}{around}")

    rows = [[epoch, *(cell(line, k) for line in lines)] for k, epoch in enumerate(x)]
    return table(f"Mean {title} ± standard deviation", ["epoch", *(n.name for n in lines)], rows)


def _numbers(column: Sequence[Any], scale: int) -> list[float]:
    """The column, if all of it are numbers: a mean over some of the seeds would be of others."""
    found = [scale * v for v in column if isinstance(v, (int, float)) and math.isfinite(v)]
    return found if len(found) == len(column) else []


def _parallel(comparison: Comparison, keys: Sequence[str]) -> str:
    percent = comparison.measure in SHARES
    scale = 100 if percent else 1
    rows = [[_text(r.group, key) for key in keys] for r in comparison.results]
    scores = [scale * r.interval.mean if r.interval else None for r in comparison.results]
    if all(score is None for score in scores):
        return sentences(["No group has a score."])
    sign = 1 if comparison.more_is_better else -1
    name = f"{comparison.measure}{' (%)' if percent else ''}"
    return parallel(list(map(short, keys)), rows, name, scores, sign)


def _text(group: Group, key: str) -> str:
    return written(group.config[key]) if key in group.config else "-"


def _importance(comparison: Comparison, keys: Sequence[str], standing: Standing | None) -> str:
    """How much of the scores' variance follows from each setting, with what measure."""
    found, how = importances(standing) if standing else ({}, "")
    shares: dict[str, float | None] = {**found}
    if not shares:
        shares = {key: _explained(comparison, key) for key in keys}
        how = (
            "the share of the variance between groups that the setting explains by itself (eta "
            "squared); settings that only work together are not seen"
        )
    known = {key: v for key, v in shares.items() if v is not None}
    if not known:
        return sentences(["There are too few groups to tell."])
    order = sorted(known, key=lambda key: -known[key])
    rows = [[short(key), (known[key], f"{100 * known[key]:.1f} %")] for key in order]
    return table(f"Importance: {how}", ["setting", "importance"], rows)


def _explained(comparison: Comparison, key: str) -> float | None:
    """Eta squared of the groups' means over the values of `key`; None where it says nothing."""
    pairs = [(_text(r.group, key), r.interval.mean) for r in comparison.results if r.interval]
    values = [score for _, score in pairs]
    by_value: dict[str, list[float]] = {}
    for text, score in pairs:
        by_value.setdefault(text, []).append(score)
    whole = statistics.pvariance(values) if len(values) > 1 else 0.0
    # Where each group has a value of its own, all would be explained by any of them.
    if not whole or len(by_value) in (1, len(values)):
        return None
    middle = statistics.fmean(values)
    between = math.fsum(len(v) * (statistics.fmean(v) - middle) ** 2 for v in by_value.values())
    return between / len(values) / whole


def _runs(runs: Sequence[Run], keys: Sequence[str], comparison: Comparison | None) -> str:
    """comparison: None where there are no scores that could be compared."""
    scored = [f"{comparison.split} {comparison.measure}"] if comparison else []
    head = ["run", "state", "seed", "epochs", *scored, *map(short, keys)]
    rows: list[list[Any]] = []
    for run in runs[:MOST_TRIALS]:
        scores = [_score(run, comparison)] if comparison else []
        settings = [setting(run.settings, key) for key in keys]
        rows.append([str(run.path), run.state, run.seed, run.epochs, *scores, *settings])
    more = f", the first {MOST_TRIALS} of {len(runs):,}" if len(runs) > MOST_TRIALS else ""
    return table(f"Runs{more}", head, rows)


def _score(run: Run, comparison: Comparison) -> tuple[float | None, str]:
    score = run.score(comparison.split, comparison.measure) if run.summary else None
    if score is None or not math.isfinite(score):
        return None, "-"
    return score, show(comparison.measure, score)
