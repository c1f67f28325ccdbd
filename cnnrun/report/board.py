"""The board: runs as a table, with their curves, configs and images by epoch, to choose from.

Here runs become plain values, and `assets/board.js` shows them; the values are in the page itself,
or come from the server of `serving.py` during training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cnnrun.comparison.choice import loss_keys
from cnnrun.comparison.groups import (
    compared_settings,
    differing_keys,
    informative_keys,
    short,
    written,
)
from cnnrun.comparison.runs import RunRecord, Split
from cnnrun.metrics import Metric, described
from cnnrun.report.charts import LEARNING_RATE, figure, look, shown_epochs
from cnnrun.report.figures import thumbnail
from cnnrun.report.page import data_address, render
from cnnrun.report.trials import setting
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.epoch_table import duration

MOST_RUNS = 5000
"""Limit for a table that still scrolls in a browser."""

MOST_CHOSEN = 7
"""Lines shown first, all of different colours."""

MOST_EPOCHS = 1024
"""Limit of epochs per run; more don't fit in a chart."""

MOST_NUMBERS = 400_000
"""Of all logs within one page, about 3 MB of it."""

MOST_IMAGES, _IMAGE_BYTES = 8, 1_000_000
"""Epochs of a run whose images a page holds, and the size of all of them together."""

_SPLITS = ("validation", "train")

Images = Callable[[RunRecord, Sequence[tuple[int, Path]]], list[tuple[int, str]]]
"""Where the page finds the images of a run that lie in these files by epoch."""


def body(data: Mapping[str, Any] | None = None) -> Markup:
    """The board as HTML; data: what it shows, None where a server is to be asked."""
    return render("board.html", data=data)


def held(
    runs: Sequence[RunRecord], names: Mapping[Path, str], chosen: Sequence[RunRecord]
) -> dict[str, Any]:
    """All that a page holds of `runs`, with as many numbers as fit on it.

    names: of their groups. chosen: whose curves are shown first.
    """
    runs = runs[:MOST_RUNS]
    outlines = list(map(Outline.of, runs))
    most = most_epochs(outlines, MOST_NUMBERS)
    keys, losses = differing(runs), losses_of(runs)
    embed = _Embedded()
    return {
        **shared(outlines, keys),
        "version": 1,
        "chosen": [str(run.path) for run in chosen[:MOST_CHOSEN]],
        "gone": [],
        "runs": [
            values(run, keys, losses.get(run.path, ""), embed, names.get(run.path, ""), most)
            for run in runs
        ],
    }


@dataclass(frozen=True)
class Outline:
    """Of a run what the page knows of all runs together; without its log, which may be long.

    main: the metric that is shown first.
    """

    task: str
    declared: dict[str, Metric]
    columns: list[str]
    main: str | None

    @classmethod
    def of(cls, run: RunRecord) -> Outline:
        columns = list(run.rows[-1] if run.rows else ())
        main = run.main_metric
        is_logged = any(f"{split}_{main}" in columns for split in _SPLITS)
        return cls(run.task, run.declared, columns, main if is_logged else run.monitor)


def most_epochs(outlines: Iterable[Outline], numbers: int) -> int:
    """Of how many epochs each log is shown, that all have about so many numbers together."""
    columns = sum(len(one.columns) for one in outlines)
    # A power of two: with a run more it seldom changes, and all logs with it.
    most = 1 << math.floor(math.log2(max(2, numbers / max(columns, 1))))
    return min(MOST_EPOCHS, most)


def shared(outlines: Sequence[Outline], keys: Iterable[str]) -> dict[str, Any]:
    """Facts about all runs together: their tasks' metrics, and the settings that differ."""
    tasks: dict[str, dict[str, Any]] = {}
    for task in dict.fromkeys(one.task for one in outlines):
        own = [one for one in outlines if one.task == task]
        declared = {name: metric for one in own for name, metric in one.declared.items()}
        columns = dict.fromkeys(key for one in own for key in one.columns)
        known = {key: shown for key in columns if (shown := _column(key, declared))}
        main = next((one.main for one in own if one.main), "loss")
        usual = dict.fromkeys(f"{split}_{name}" for name in (main, "loss") for split in _SPLITS)
        tasks[task] = {"columns": known, "usual": list(usual)}
    return {"tasks": tasks, "keys": list(dict.fromkeys(map(short, keys)))}


def differing(runs: Iterable[RunRecord]) -> list[str]:
    """The settings that distinguish runs, except the seed."""
    settings = [compared_settings(run) for run in runs if run.state != "damaged"]
    return informative_keys(differing_keys(settings), settings)


def losses_of(runs: Iterable[RunRecord]) -> dict[Path, str]:
    """The name of a run's loss, if others of its task have another one."""
    return {
        run.path: ", ".join(f"{short(key)}={written(run.settings.get(key))}" for key in keys)
        for own in _by_task(runs).values()
        if (keys := loss_keys(own))
        for run in own
    }


def values(
    run: RunRecord,
    keys: Sequence[str],
    loss: str,
    images: Images,
    group: str = "",
    most_epochs: int = MOST_EPOCHS,
) -> dict[str, Any]:
    """A run's values for the page; a number is [value to sort by, text]."""
    is_damaged = run.state == "damaged"
    planned = run.settings.get("training.epochs")
    return {
        "id": str(run.path),
        "name": run.path.name if is_damaged else run.name,
        "task": run.task,
        "group": group,
        "seed": None if is_damaged else run.seed,
        "state": run.state,
        "problem": run.remark,
        "epochs": run.epochs,
        "progress": f"{run.epochs} of {planned}" if planned else str(run.epochs),
        "scores": _scores(run),
        "seconds": _seconds(run),
        "memory": _memory(run),
        **relative_values(run, keys, loss),
        "log": _log(run, most_epochs),
        "images": images(run, progress(run)),
    }


def relative_values(run: RunRecord, keys: Sequence[str], loss: str) -> dict[str, Any]:
    """A run's values that depend on the other runs."""
    config = {} if run.state == "damaged" else compared_settings(run)
    return {"settings": {short(key): setting(config, key) for key in keys}, "loss": loss}


def progress(run: RunRecord) -> list[tuple[int, Path]]:
    """The images that a run saved after epochs, as style transfer does: epoch and file."""
    found = (RunDirectory(run.path).plots / "progress").glob("epoch_*.png")
    numbered = ((file.stem.removeprefix("epoch_"), file) for file in found)
    return sorted((int(name), file) for name, file in numbered if name.isdecimal())[:MOST_EPOCHS]


class _Embedded:
    """Small versions of images within the page, as many as fit."""

    def __init__(self) -> None:
        self.left = _IMAGE_BYTES

    def __call__(self, _run: RunRecord, found: Sequence[tuple[int, Path]]) -> list[tuple[int, str]]:
        kept = []
        for k in shown_epochs(len(found), MOST_IMAGES):
            epoch, file = found[k - 1]
            data = thumbnail(file)
            if data is not None and len(data) <= self.left:
                self.left -= len(data)
                kept.append((epoch, data_address(data)))
        return kept


def _by_task(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.task, []).append(run)
    return found


def _column(key: str, declared: Mapping[str, Metric]) -> dict[str, Any] | None:
    """How a column of the log is drawn; None for what is no curve."""
    if key == "lr":
        return {"title": LEARNING_RATE.display_name, "of_the_loss": False, **look(LEARNING_RATE)}
    split, _, name = key.partition("_")
    if split not in _SPLITS:
        return None
    metric = described(name, declared)
    title = f"{split} {metric.display_name}"
    return {"title": title, "of_the_loss": metric.of_the_loss, **look(metric)}


def thinned(log: dict[str, list[Any]], most: int) -> dict[str, list[Any]]:
    """Columns of a log with one value per epoch, for at `most` epochs."""
    count = len(log.get("epoch", ()))
    if count <= most:
        return log
    return {key: [column[k - 1] for k in shown_epochs(count, most)] for key, column in log.items()}


def _log(run: RunRecord, most: int) -> dict[str, list[float | None]]:
    rows = [run.rows[k - 1] for k in shown_epochs(len(run.rows), most)]
    found = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        split, _, name = key.partition("_")
        if key in ("epoch", "lr") or split in _SPLITS:
            scale = run.metric(name).scale if split in _SPLITS else 1
            found[key] = [_scaled(row.get(key), scale) for row in rows]
    return found


def _scaled(value: float | None, scale: int) -> float | None:
    return None if value is None else figure(scale * value)


def _scores(run: RunRecord) -> dict[str, tuple[float | None, str]]:
    """By title: the validation score of the best epoch so far, and the test score."""
    found: dict[str, tuple[float | None, str]] = {}
    name = run.main_metric
    if name is None:
        return found
    chooser = name if name in run.metric_names["validation"] else run.monitor
    pairs: list[tuple[Split, str | None]] = [("validation", chooser), ("test", name)]
    for split, wanted in pairs:
        if wanted is not None and wanted in run.metric_names[split]:
            metric, score = run.metric(wanted), run.score(split, wanted)
            found[f"{split} {metric.display_name}"] = (score, metric.text(score))
    return found


def _seconds(run: RunRecord) -> tuple[float, str] | None:
    """How long it took, or until it has ended, from its start to its newest row."""
    seconds = run.summary.get("seconds")
    if not run.summary and run.rows:
        try:
            seconds = RunDirectory(run.path).metrics.stat().st_mtime - run.started.timestamp()
        except OSError:
            return None
    known = isinstance(seconds, (int, float)) and seconds >= 0
    return (float(seconds), duration(seconds)) if known and seconds is not None else None


def _memory(run: RunRecord) -> tuple[float, str] | None:
    most = run.summary.get("peak_memory")
    return (most, f"{most / 1e9:.2f} GB") if isinstance(most, int) else None
