"""Runs as rows of a table: which ones, in which order, with which columns."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cnnrun.comparison.groups import compared_settings, differing_keys, telling_keys, written
from cnnrun.comparison.runs import SPLITS, Run
from cnnrun.config.document import parse
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.measures import main_measure, more_is_better, show
from cnnrun.runtime.printable import printable

_FACTS: dict[str, Callable[[Run], Any]] = {
    "run": lambda run: str(run.path),
    "name": lambda run: run.name,
    "time": lambda run: run.started.isoformat(" "),
    "state": lambda run: run.state,
    "seed": lambda run: run.settings.get("seed"),
    "epochs": lambda run: run.epochs,
    "best_epoch": lambda run: run.best.get("epoch"),
    "parameters": lambda run: run.summary.get("parameters"),
    "seconds": lambda run: run.summary.get("seconds"),
    "images_per_second": lambda run: run.summary.get("images_per_second"),
}
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_CONDITION = re.compile(r"([^=<>!]+)(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_WIDEST = 40


class RunTable:
    """Runs and what may be asked of them: facts, scores (`test_accuracy`) and settings."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self._settings = dict.fromkeys(key for run in runs for key in run.settings)
        # By column, the measure: `test_accuracy`, and `accuracy` for the best that a run has.
        self.measures: dict[str, str] = {}
        for run in self.runs:
            for split in SPLITS:
                for measure in run.measures[split]:
                    self.measures |= {f"{split}_{measure}": measure, measure: measure}

    def filter(self, conditions: Iterable[str]) -> None:
        """Keep the runs that meet all of `key=value`, `key!=value`, `key>value` ...

        Raises:
            ConfigError: no such key, or not of that form.
        """
        for condition in conditions:
            found = _CONDITION.fullmatch(condition)
            if found is None:
                raise ConfigError(
                    f"--filter {condition}: write KEY=VALUE, KEY!=VALUE, KEY>VALUE, KEY<VALUE ..."
                )
            key, sign, text = found.groups()
            self.check(key, f"--filter {condition}")
            wanted = parse(text, f"--filter {condition}").values if text.strip() else None
            self.runs = [run for run in self.runs if _meets(self.value(run, key), sign, wanted)]

    def sort(self, key: str, reverse: bool = False) -> None:
        """By a measure the best first, by anything else the smallest; what has no value is last.

        Raises:
            ConfigError: no such key.
        """
        self.check(key, "--sort")

        def place(run: Run) -> tuple[Any, ...]:
            value = self.value(run, key)
            if _is_number(value):
                more = key in self.measures and more_is_better(self.measures[key], run.task)
                return (0, value if more == reverse else -value, "")
            return (1, 0.0, written(value))

        known = [run for run in self.runs if not _is_missing(self.value(run, key))]
        missing = [run for run in self.runs if _is_missing(self.value(run, key))]
        texts = any(not _is_number(self.value(run, key)) for run in known)
        self.runs = sorted(known, key=place, reverse=reverse and texts) + missing

    def columns(self) -> list[str]:
        """The usual ones: facts, each task's main scores, and the settings that differ."""
        scores: dict[str, None] = {}
        for run in self.runs:
            for split in (SPLITS[1], SPLITS[0]):
                measure = main_measure(run.task, run.measures[split])
                scores |= {f"{split}_{measure}": None} if measure else {}
        settings = [compared_settings(run) for run in self.runs if run.settings]
        keys = telling_keys(differing_keys(settings), settings)
        return ["name", "time", "state", "seed", "epochs", *scores, *keys, "run"]

    def check(self, key: str, where: str) -> None:
        """Raise a `ConfigError` where no run has such a key."""
        known = {**_FACTS, **self.measures, **self._settings}
        if key not in known:
            raise ConfigError(f"{where}: no run has '{key}'{did_you_mean(key, known)}")

    def value(self, run: Run, key: str) -> Any:
        """What `run` has in column `key`; None for nothing."""
        if key in _FACTS:
            return _FACTS[key](run)
        if key in self.measures:
            measure = self.measures[key]
            of = [split for split in SPLITS if key in (measure, f"{split}_{measure}")]
            return next((s for split in of if (s := run.score(split, measure)) is not None), None)
        return run.settings.get(key)

    def rows(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """A dict for each run, of plain values: what is no number is None."""
        return [
            {key: None if _is_missing(v := self.value(run, key)) else v for key in keys}
            for run in self.runs
        ]

    def as_text(self, keys: Sequence[str]) -> str:
        """Columns under their names."""
        if not self.runs:
            return "no run meets the conditions"
        cells = [[self._cell(run, key) for key in keys] for run in self.runs]
        return "\n".join(columns([list(keys), *cells]))

    def _cell(self, run: Run, key: str) -> str:
        value = self.value(run, key)
        if value is None:
            return "-"
        if key in self.measures:
            return "no number" if math.isnan(value) else show(self.measures[key], value)
        text = written(value)
        whole = key == "run" or len(text) <= _WIDEST
        return text if whole else f"{text[: _WIDEST - 12]}...{text[-9:]}"


def _meets(value: Any, sign: str, wanted: Any) -> bool:
    if sign in ("=", "!="):
        same = value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
        return (same or written(value) == written(wanted)) == (sign == "=")
    both_numbers = _is_number(value) and _is_number(wanted)
    both_texts = isinstance(value, str) and isinstance(wanted, str)
    return (both_numbers or both_texts) and _COMPARED[sign](value, wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines in which the cells of a column begin under one another."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
