"""Runs as rows of a table: which ones, in which order, with which columns."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cnnrun.comparison.choice import loss_keys
from cnnrun.comparison.groups import compared_settings, differing_keys, informative_keys, written
from cnnrun.comparison.runs import SPLITS, RunRecord, Split
from cnnrun.config.document import parse
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.metrics import Metric
from cnnrun.runtime.text_table import columns, width_of

_FACTS: dict[str, Callable[[RunRecord], Any]] = {
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
# Split of a metric named without one: the test split must not choose anything.
_BY_RANK: tuple[Split, ...] = ("validation", "test", "train")


# Columns that identify and score a run; others follow as space allows.
_FIRST, _LAST = ("run",), ("epochs", "time", "name")


class RunTable:
    """Runs with their columns: facts, scores (`test_accuracy`) and settings."""

    def __init__(self, runs: Sequence[RunRecord]) -> None:
        self.runs = list(runs)
        self.notes: list[str] = []  # notes on the order
        self._settings = dict.fromkeys(key for run in runs for key in run.settings)
        # The metric of each column: `test_accuracy`, and `accuracy` for a run's best.
        self.metrics: dict[str, str] = {}
        # The task's metric, as declared by runs.
        self._declared: dict[tuple[str, str], Metric] = {}
        for run in self.runs:
            self._declared |= {(run.task, name): m for name, m in run.declared.items()}
            for split in SPLITS:
                for name in run.metric_names[split]:
                    self.metrics |= {f"{split}_{name}": name, name: name}

    def _metric(self, run: RunRecord, key: str) -> Metric:
        name = self.metrics[key]
        return self._declared.get((run.task, name)) or run.metric(name)

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
        """By a metric best first, by anything else smallest first; missing values last.

        A metric of unknown direction is sorted like anything else.

        Raises:
            ConfigError: no such key.
        """
        self.check(key, "--sort")

        def place(run: RunRecord) -> tuple[Any, ...]:
            value = self.value(run, key)
            if _is_number(value):
                more = key in self.metrics and bool(self._metric(run, key).higher_is_better)
                return (0, value if more == reverse else -value, "")
            return (1, 0.0, written(value))

        known = [run for run in self.runs if not _is_missing(self.value(run, key))]
        missing = [run for run in self.runs if _is_missing(self.value(run, key))]
        texts = any(not _is_number(self.value(run, key)) for run in known)
        self.runs = sorted(known, key=place, reverse=reverse and texts) + missing
        self.notes += self._doubts(key, known)

    def _doubts(self, key: str, runs: Sequence[RunRecord]) -> list[str]:
        if key not in self.metrics or not runs:
            return []
        metrics = [self._metric(run, key) for run in runs]
        if any(metric.higher_is_better is None for metric in metrics):
            return [
                f"no run records whether a higher {self.metrics[key]} is better: smallest first"
            ]
        if metrics[0].of_the_loss and (keys := loss_keys(runs)):
            return [f"{keys[0]} differs: values of different losses are not comparable"]
        return []

    def columns(self) -> list[str]:
        """The default columns: facts, each task's main scores, and the settings that differ."""
        scores: dict[str, None] = {}
        for run in self.runs:
            for split in (SPLITS[1], SPLITS[0]):
                if run.main_metric in run.metric_names[split]:
                    scores[f"{split}_{run.main_metric}"] = None
        settings = [compared_settings(run) for run in self.runs if run.settings]
        keys = informative_keys(differing_keys(settings), settings)
        return ["name", "time", "state", "seed", "epochs", *scores, *keys, "run"]

    def check(self, key: str, where: str) -> None:
        """Raise a `ConfigError` if no run has such a key."""
        known = {**_FACTS, **self.metrics, **self._settings}
        if key not in known:
            raise ConfigError(f"{where}: no run has '{key}'{did_you_mean(key, known)}")

    def value(self, run: RunRecord, key: str) -> Any:
        """The value of `run` in column `key`, or None."""
        if key in _FACTS:
            return _FACTS[key](run)
        if key in self.metrics:
            name = self.metrics[key]
            of = [split for split in _BY_RANK if key in (name, f"{split}_{name}")]
            return next((s for split in of if (s := run.score(split, name)) is not None), None)
        return run.settings.get(key)

    def rows(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """A dict of plain values for each run; NaN becomes None."""
        return [
            {key: None if _is_missing(v := self.value(run, key)) else v for key in keys}
            for run in self.runs
        ]

    def to_text(self, keys: Sequence[str], width: int | None = None) -> str:
        """Columns under their names.

        width: of the terminal; columns that don't fit are left out and counted.
        """
        if not self.runs:
            return "no run matches the filters"
        cells = {key: [key, *(self._cell(run, key) for run in self.runs)] for key in keys}
        kept = self._fitting(cells, width) if width else list(keys)
        lines = columns(list(zip(*(cells[key] for key in kept), strict=True)))
        if more := len(keys) - len(kept):
            s = "s" if more > 1 else ""
            lines += ["", f"+{more} column{s}: --columns KEY,KEY or all by --csv or --json"]
        return "\n".join(lines)

    def _fitting(self, cells: dict[str, list[str]], width: int) -> list[str]:
        """The columns that fit, in their order; the run and a score are always among them."""
        scores = [key for key in cells if key in self.metrics]
        others = [key for key in cells if key not in (*_FIRST, *_LAST, *scores)]
        kept, used = set(), -2
        for key in (*_FIRST, *scores, *others, *_LAST):
            if key in cells:
                needed = 2 + max(map(width_of, cells[key]))
                if used + needed <= width or key in (*_FIRST, *scores[:1]):
                    kept.add(key)
                    used += needed
        return [key for key in cells if key in kept]

    def _cell(self, run: RunRecord, key: str) -> str:
        value = self.value(run, key)
        if value is None:
            return "-"
        if key in self.metrics:
            return self._metric(run, key).text(value)
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
