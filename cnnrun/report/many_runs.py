"""What the report of many runs shows: groups, what can be claimed, curves, trials, parameters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cnnrun.comparison import Comparison, Group, Result, compare, group_runs
from cnnrun.comparison.groups import informative_keys, short, written
from cnnrun.comparison.runs import RunRecord
from cnnrun.comparison.text import pair_sentences, score_texts, score_titles
from cnnrun.errors import UserError
from cnnrun.report import board
from cnnrun.report.figures import plots
from cnnrun.report.group_curves import group_curves
from cnnrun.report.page import Section, page, sentences, table
from cnnrun.report.parallel import parallel
from cnnrun.report.trials import importances, setting, sweep_status, trials
from cnnrun.runtime.reading import read_json

if TYPE_CHECKING:
    from cnnrun.multirun.sweep.sweep import SweepStatus


def report(
    runs: Sequence[RunRecord],
    title: str,
    folder: Path,
    plugins: Sequence[str] = (),
    storage: str | None = None,
) -> str:
    """The HTML page of many runs: a sweep's, a study's, or those that a shell loop left.

    folder: where they lie, and what a sweep or a study left there. storage: of a sweep's trials, if
    elsewhere. Runs that can't be compared (none is finished, say) are listed, with the reason.
    """
    damaged = [run for run in runs if run.state == "damaged"]
    study, (status, problem) = _study(folder), sweep_status(folder, plugins, storage)
    groups = _named(group_runs(runs), status)
    compared, problems = _compared(groups, damaged)
    several = len(compared) > 1
    sections = []
    for comparison in compared:
        of = f" of {comparison.results[0].group.task}" if several else ""
        sections += _sections(comparison, study, status, of)
    all_problems = [*problems, *filter(None, [problem])]
    if all_problems:
        sections.insert(0, Section("Problems", sentences(all_problems, "warning")))
    sections += [trials(status.results)] if status else []
    sections.append(Section("Runs", _board(runs, groups, compared)))
    drawn = [folder / Path(str(n)).name for n in study.get("plots", study.get("pictures")) or []]
    if found := plots([file for file in drawn if file.is_file()]):
        sections.append(Section("Plots", found))
    return page(title, str(study.get("about") or _lead(runs, groups, compared)), sections)


def _lead(
    runs: Sequence[RunRecord], groups: Sequence[Group], compared: Sequence[Comparison]
) -> str:
    lead = f"{len(runs)} runs in {len(groups)} group{'s' if len(groups) != 1 else ''}"
    by = [
        f"{c.split} {c.metric.display_name}" + (f", {_ranked(c)}" if c.is_ranked_apart else "")
        for c in compared
    ]
    return f"{lead}, compared by {'; by '.join(by)}." if by else f"{lead}."


def _ranked(comparison: Comparison) -> str:
    ranked_by = comparison.ranked_by
    return f"best first by {ranked_by.split} {ranked_by.metric.display_name}"


def _compared(
    groups: Sequence[Group], damaged: Sequence[RunRecord]
) -> tuple[list[Comparison], list[str]]:
    """A comparison for each task, as their metrics have nothing in common; and what failed."""
    found, problems = [], []
    tasks = dict.fromkeys(group.task for group in groups)
    for number, task in enumerate(tasks):
        own = [group for group in groups if group.task == task]
        try:
            found.append(compare(own, left_out=[] if number else damaged))
        except UserError as error:
            of = f" of {task}" if len(tasks) > 1 else ""
            problems.append(f"The runs{of} are not compared: {error}")
    return found, problems


def _sections(
    comparison: Comparison, study: dict[str, Any], status: SweepStatus | None, of: str
) -> list[Section]:
    """What can be claimed, the groups, their curves and settings. of: ` of classify`, say."""
    found = [
        Section(f"Findings{of}", _findings(comparison, study)),
        Section(f"Groups{of}", _groups(comparison)),
        Section(f"Curves{of}", group_curves(comparison)),
    ]
    if keys := _keys(comparison):
        found.append(Section(f"Settings{of}", _parallel(comparison, keys)))
        found.append(Section(f"Importance{of}", _importance(comparison, keys, status)))
    return found


def _named(groups: list[Group], status: SweepStatus | None) -> list[Group]:
    """Groups by the numbers of a sweep's trials, or by the names of runs as in a study.

    So a trial has one name on the whole page.
    """
    if status:
        trial_of = {
            Path(run).name: trial.trial
            for trial in status.results.trials
            for run in trial.runs.values()
        }
        # Of equal scores the first trial comes first, as in the table of trials.
        numbers = [(_trials_of(group, trial_of), group) for group in groups]
        numbers.sort(key=lambda found: (not found[0], found[0]))
        return [_after_trials(group, trials) for trials, group in numbers]
    names = [{run.name for run in (*group.runs, *group.left_out)} for group in groups]
    if not 1 < len(groups) == len(set().union(*names)) == sum(map(len, names)):
        return groups
    return [replace(group, name=name) for group, (name,) in zip(groups, names, strict=True)]


def _trials_of(group: Group, trial_of: Mapping[str, int]) -> list[int]:
    """The numbers of the trials whose runs a group has."""
    runs = (*group.runs, *group.left_out)
    return sorted({trial_of[run.path.name] for run in runs if run.path.name in trial_of})


def _after_trials(group: Group, trials: list[int]) -> Group:
    """The group of one trial, or of several that drew the same settings, called after them."""
    return replace(group, name=f"trial {', '.join(map(str, trials))}") if trials else group


def _study(folder: Path) -> dict[str, Any]:
    """What `cnnrun study` wrote into `folder`; {} if nothing."""
    try:
        found = read_json(folder / "study.json")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _findings(comparison: Comparison, study: dict[str, Any]) -> Markup:
    said = study.get("sentences") or pair_sentences(comparison)
    warnings = [f"Warning: {text}" for text in comparison.caveats]
    return sentences(list(map(str, said)), "finding") + sentences(warnings, "warning")


def _keys(comparison: Comparison) -> list[str]:
    """The settings that distinguish groups."""
    settings = [result.group.settings for result in comparison.results]
    return informative_keys(dict.fromkeys(key for one in settings for key in one), settings)


def _groups(comparison: Comparison) -> Markup:
    keys = _keys(comparison)
    head = ["group", "seeds", *score_titles(comparison), *map(short, keys)]
    rows = [
        [
            result.name,
            len(result.scores),
            *zip(_means(comparison, result), score_texts(comparison, result), strict=True),
            *(setting(result.group.config, key) for key in keys),
        ]
        for result in comparison.results
    ]
    words = "mean over seeds ± half of its 95 % interval"
    return table(f"Groups, {_ranked(comparison)}: {words}", head, rows)


def _means(comparison: Comparison, result: Result) -> list[float | None]:
    """What the columns of `score_titles` are sorted by."""
    own, ranking = (found.mean if found else None for found in (result.interval, result.rank))
    return [ranking, own] if comparison.is_ranked_apart else [own]


def _parallel(comparison: Comparison, keys: Sequence[str]) -> Markup:
    metric = comparison.ranked_by.metric
    rows = [[_text(r.group, key) for key in keys] for r in comparison.results]
    scores = [metric.scale * r.rank.mean if r.rank else None for r in comparison.results]
    if all(score is None for score in scores):
        return sentences(["No group has a score."])
    sign = 1 if metric.higher_is_better else -1
    name = f"{comparison.ranked_by.split} {metric.label}"
    return parallel(list(map(short, keys)), rows, name, scores, sign, metric)


def _text(group: Group, key: str) -> str:
    return written(group.config[key]) if key in group.config else "-"


def _importance(comparison: Comparison, keys: Sequence[str], status: SweepStatus | None) -> Markup:
    """How much of the scores' variance each setting explains, and the method."""
    found, how = importances(status) if status else ({}, "")
    shares: dict[str, float | None] = {**found}
    if not shares:
        shares = {key: _explained(comparison, key) for key in keys}
        how = (
            "the share of the variance between groups that a single setting explains (eta "
            "squared); interactions between settings are not counted"
        )
    known = {key: v for key, v in shares.items() if v is not None}
    if not known:
        return sentences(["There are too few groups to estimate it."])
    order = sorted(known, key=lambda key: -known[key])
    rows = [[short(key), (known[key], f"{100 * known[key]:.1f} %")] for key in order]
    return table(f"Importance: {how}", ["setting", "importance"], rows)


def _explained(comparison: Comparison, key: str) -> float | None:
    """Eta squared of the groups' means over the values of `key`; None where it says nothing."""
    pairs = [(_text(r.group, key), r.rank.mean) for r in comparison.results if r.rank]
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


def _board(
    runs: Sequence[RunRecord], groups: Sequence[Group], compared: Sequence[Comparison]
) -> Markup:
    """All runs, to choose from; the best group's first run and those of the next are shown."""
    names = {r.path: group.name for group in groups for r in (*group.runs, *group.left_out)}
    first = [run for group in groups for run in (*group.runs, *group.left_out)[:1]]
    for comparison in compared:
        for result in comparison.results:
            names |= dict.fromkeys((run.path for run in result.group.runs), result.name)
    if compared:
        first = [r.group.runs[0] for c in compared for r in c.results if r.group.runs]
    held = board.held(runs, names, first)
    some = f"The first {board.MOST_RUNS:,} of {len(runs):,} runs."
    return sentences([some] if len(runs) > board.MOST_RUNS else []) + board.body(held)
