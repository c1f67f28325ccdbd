"""What the report of many runs shows: groups, what can be claimed, curves, trials, parameters."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnnrun.comparing import Comparison, Group, Result, compare, group_runs
from cnnrun.comparing.groups import short, telling_keys, written
from cnnrun.comparing.measures import SHARES, show
from cnnrun.comparing.report import figure, pair_sentences
from cnnrun.comparing.runs import Run
from cnnrun.report.line_chart import MOST_LINES, Line, line_chart
from cnnrun.report.page import Section, page, picture, sentences, table
from cnnrun.report.parallel import parallel

MOST_TRIALS = 2000
"""Rows of the table of runs; a page with more would not open quickly."""


def report(runs: Sequence[Run], title: str, folder: Path) -> str:
    """The HTML page of many runs: a sweep's, a study's, or those that a shell loop left.

    folder: where they lie, for what a study found there.

    Raises:
        UserError: no run is finished, or they have no measure in common.
    """
    damaged = [run for run in runs if run.state == "damaged"]
    comparison = compare(_named(group_runs(runs)), left_out=damaged)
    study = _study(folder)
    sections = [
        Section("Findings", _findings(comparison, study)),
        Section("Groups", _groups(comparison)),
        Section("Curves", _curves(comparison)),
    ]
    keys = _keys(comparison)
    if keys:
        sections.append(Section("Settings", _parallel(comparison, keys)))
        sections.append(Section("Importance", _importance(comparison, keys, folder)))
    sections.append(Section("Runs", _runs(runs, keys, comparison)))
    pictures = _study_pictures(study, folder)
    if pictures:
        sections.append(Section("Pictures", pictures))
    groups = len(comparison.results)
    lead = (
        f"{len(runs)} runs in {groups} group{'s' if groups != 1 else ''}, compared by "
        f"{comparison.split} {comparison.measure}."
    )
    return page(title, study.get("about") or lead, sections)


def _named(groups: list[Group]) -> list[Group]:
    """Groups by their runs' names, where each has one of its own, as in a study."""
    names = [{run.name for run in (*group.runs, *group.left_out)} for group in groups]
    if not 1 < len(groups) == len(set().union(*names)) == sum(map(len, names)):
        return groups
    return [replace(group, name=name) for group, (name,) in zip(groups, names, strict=True)]


def _study(folder: Path) -> dict[str, Any]:
    """What `cnnrun study` left in `folder`; {} where it did not."""
    try:
        found = json.loads((folder / "study.json").read_text("utf-8"))
    except (OSError, ValueError):
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
            *(_setting(result.group.config, key) for key in keys),
        ]
        for result in comparison.results
    ]
    words = "mean over seeds ± half of its 95 % interval"
    return table(f"Groups, the best first: {words}", head, rows)


def _mean(result: Result) -> float | None:
    return result.interval.mean if result.interval else None


def _setting(config: dict[str, Any], key: str) -> Any:
    if key not in config:
        return "-"
    value = config[key]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (value, written(value)) if is_number else written(value)


def _curves(comparison: Comparison) -> str:
    measures = dict.fromkeys((comparison.measure, "loss"))
    drawn = []
    for measure in measures:
        for split in ("validation", "train"):
            lines = _lines(comparison, f"{split}_{measure}", 100 if measure in SHARES else 1)
            if lines:
                x = list(range(1, max(len(line.values) for line in lines) + 1))
                unit = " %" if measure in SHARES else ""
                drawn.append(line_chart(f"{split} {measure}", x, lines, unit))
    more = len(comparison.results) - MOST_LINES
    beyond = f" Of {more} more groups there are no curves." if more > 0 else ""
    words = f"Means over seeds, bands of one standard deviation.{beyond}"
    return sentences([words]) + f'<div class="charts">{"".join(drawn)}</div>'


def _lines(comparison: Comparison, key: str, scale: int) -> list[Line]:
    found = []
    for result in comparison.results[:MOST_LINES]:
        logs = [[row.get(key) for row in run.rows] for run in result.group.runs if run.rows]
        epochs = min(map(len, logs), default=0)
        columns = [_numbers([log[k] for log in logs], scale) for k in range(epochs)]
        if any(columns):
            means = [statistics.fmean(column) if column else None for column in columns]
            spread = [statistics.stdev(c) if len(c) > 1 else None for c in columns]
            found.append(Line(result.title, means, spread))
    return found


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


def _importance(comparison: Comparison, keys: Sequence[str], folder: Path) -> str:
    """How much of the scores' variance follows from each setting, with what measure."""
    shares: dict[str, float | None] = {**_by_optuna(folder)}
    how = "fANOVA (Hutter et al. 2014), by Optuna"
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


def _by_optuna(folder: Path) -> dict[str, float]:
    """Optuna's importances of the sweep in `folder`; {} where it has none, or too few trials."""
    file = folder / "sweep.db"
    if not file.is_file():
        return {}
    try:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        [study] = optuna.get_all_study_summaries(f"sqlite:///{file.resolve()}")[-1:]
        loaded = optuna.load_study(
            study_name=study.study_name, storage=f"sqlite:///{file.resolve()}"
        )
        return dict(optuna.importance.get_param_importances(loaded))
    except Exception:
        # Too few trials, one value alone, another version's file: the plain measure stands in.
        return {}


def _runs(runs: Sequence[Run], keys: Sequence[str], comparison: Comparison) -> str:
    measure, split = comparison.measure, comparison.split
    head = ["run", "state", "seed", "epochs", f"{split} {measure}", *map(short, keys)]
    rows = []
    for run in runs[:MOST_TRIALS]:
        score = run.score(split, measure) if run.summary else None
        known = score is not None and math.isfinite(score)
        shown = (score, show(measure, score or 0.0)) if known else (None, "-")
        settings = [_setting(run.settings, key) for key in keys]
        rows.append([str(run.path), run.state, run.seed, run.epochs, shown, *settings])
    more = f", the first {MOST_TRIALS} of {len(runs):,}" if len(runs) > MOST_TRIALS else ""
    return table(f"Runs{more}", head, rows)


def _study_pictures(study: dict[str, Any], folder: Path) -> str:
    files = [folder / Path(str(name)).name for name in study.get("pictures", [])]
    return "".join(
        picture(file.read_bytes(), f"picture {file.stem}", file.stem)
        for file in files
        if file.is_file()
    )
