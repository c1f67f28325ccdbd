"""By what runs can be compared: a metric of known direction; a loss only if it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnnrun.comparison.groups import differing_keys, short, written
from cnnrun.comparison.results import RankedBy
from cnnrun.comparison.runs import SPLITS, RunRecord, Split
from cnnrun.errors import UserError, did_you_mean
from cnnrun.metrics import Metric

_DIRECTIONS = {"max": True, "min": False}
# Besides the section `loss`, what a loss depends on; beta weighs the penalty of a VAE.
_OF_LOSS = ("model.beta",)


def choose(runs: Sequence[RunRecord], wanted: str | None) -> tuple[Metric, Split]:
    """The metric, and the split for which most runs have it; the test split if equal.

    wanted: a metric's name, or with direction `name:max`, `name:min`; by default the tasks' own.

    Raises:
        UserError: with what the runs can be compared by instead.
    """
    metric = _wanted(runs, wanted) if wanted is not None else _usual(runs)
    name = metric.name
    return metric, max(
        SPLITS, key=lambda split: sum(name in run.metric_names[split] for run in runs)
    )


def ranking(runs: Sequence[RunRecord], metric: Metric, split: Split) -> RankedBy:
    """The score that ranks groups: on the validation split, so that the test split chooses nothing.

    For a metric that only the test split has, it is the one that chose the epochs.
    """
    monitors = {run.monitor for run in runs}
    monitor = monitors.pop() if len(monitors) == 1 else None
    for candidate in (metric, metric_of(runs, monitor) if monitor else None):
        if candidate is None or candidate.higher_is_better is None:
            continue
        if candidate.of_the_loss and loss_keys(runs):
            continue
        # A run without a best epoch has no score on any split, and comes last.
        scored = [run for run in runs if run.metric_names["validation"] or run.metric_names[split]]
        if scored and all(candidate.name in run.metric_names["validation"] for run in scored):
            return RankedBy("validation", candidate)
    return RankedBy(split, metric)


def metric_of(runs: Sequence[RunRecord], name: str) -> Metric:
    """The metric `name` as the runs declare it; such a run also counts for older ones of its task.

    Raises:
        UserError: they contradict each other.
    """
    declared = [run.declared[name] for run in runs if name in run.declared]
    if len({metric.higher_is_better for metric in declared}) > 1:
        raise UserError(f"a higher '{name}' is better in some of these runs and worse in others")
    return declared[0] if declared else runs[0].metric(name)


def _wanted(runs: Sequence[RunRecord], wanted: str) -> Metric:
    name, _, direction = wanted.partition(":")
    known = _known(runs)
    if name not in known:
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise UserError(f"no finished run has the metric '{name}'{hint}")
    if direction and direction not in _DIRECTIONS:
        raise UserError(f"--metric {wanted}: write {name}:max or {name}:min")
    metric = metric_of(runs, name)
    if direction:
        metric = replace(metric, higher_is_better=_DIRECTIONS[direction])
    if metric.higher_is_better is None:
        raise UserError(
            f"these runs don't record whether a higher '{name}' is "
            f"better: write --metric {name}:max "
            f"or --metric {name}:min"
        )
    if metric.of_the_loss and (keys := loss_keys(runs)):
        raise UserError(f"{_why_not_comparable(name, runs, keys)}; {_instead(runs)}")
    return metric


def _usual(runs: Sequence[RunRecord]) -> Metric:
    tasks = list(dict.fromkeys(run.task for run in runs))
    if len(tasks) > 1:
        raise UserError(
            f"these are runs of different tasks ({', '.join(tasks)}): compare those of one, or "
            "name a metric with --metric"
        )
    names = dict.fromkeys(name for run in runs if (name := run.main_metric))
    if not names:
        raise UserError("the finished runs have no scores")
    differing = loss_keys(runs)
    metrics = [metric_of(runs, name) for name in [*names, *_shared(runs)]]
    for metric in metrics:
        if metric.higher_is_better is not None and not (metric.of_the_loss and differing):
            return metric
    if metrics[0].of_the_loss and differing:
        why = _why_not_comparable(metrics[0].name, runs, differing)
        raise UserError(f"{why}; {_instead(runs)}")
    return _wanted(runs, metrics[0].name)


def loss_keys(runs: Sequence[RunRecord]) -> list[str]:
    """The settings by which the runs' losses differ as functions; [] if they are the same."""
    tasks = {run.task for run in runs}
    found = [
        {k: v for k, v in run.settings.items() if k.startswith("loss.") or k in ("loss", *_OF_LOSS)}
        for run in runs
    ]
    return [*(["task"] if len(tasks) > 1 else []), *differing_keys(found)]


def _why_not_comparable(name: str, runs: Sequence[RunRecord], keys: Sequence[str]) -> str:
    key = keys[0]
    values = dict.fromkeys(
        run.task if key == "task" else written(run.settings[key]) if key in run.settings else "none"
        for run in runs
    )
    return (
        f"'{name}' can't compare these runs: {short(key)} differs ({', '.join(values)}), and "
        "values of different losses are not comparable"
    )


def _instead(runs: Sequence[RunRecord]) -> str:
    others = [name for name in _shared(runs) if not metric_of(runs, name).of_the_loss]
    return f"compare by --metric {' or '.join(others)}" if others else "nothing else was measured"


def _known(runs: Sequence[RunRecord]) -> list[str]:
    return list(
        dict.fromkeys(m for run in runs for split in SPLITS for m in run.metric_names[split])
    )


def _shared(runs: Sequence[RunRecord]) -> list[str]:
    """The metrics that every run has, on any split."""
    return [
        m for m in _known(runs) if all(any(m in r.metric_names[s] for s in SPLITS) for r in runs)
    ]
