"""Run directories as found on disk, finished or not."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from cnnrun.comparison.soundness import check_settings, check_summary, is_usable
from cnnrun.config.document import flattened, plain
from cnnrun.errors import UserError
from cnnrun.metrics import Metric, described, main_metric, read_metrics, usual_monitor
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.lock import is_training
from cnnrun.runtime.long_work import with_progress
from cnnrun.runtime.reading import CONFIG_BYTES, read_json, read_text

State = Literal["finished", "running", "interrupted", "unfinished", "damaged"]
Split = Literal["test", "validation", "train"]

SPLITS: tuple[Split, ...] = ("test", "validation", "train")
"""The order in which a run's final score is searched."""

# What a run directory has besides its config: a folder with only a config is not a run.
_SIGNS = ("checkpoints", "metrics.jsonl", "summary.json", "environment.json")
_INSIDE = ("checkpoints", "plots")
_UNREADABLE = (
    *(OSError, ValueError, TypeError, OverflowError, RecursionError, MemoryError),
    *(yaml.YAMLError, UserError),
)
_SECTION = re.compile(r"^(?=[^\s#-])", re.MULTILINE)


@dataclass(frozen=True)
class RunRecord:
    """One run: its config as dotted keys, and its summary ({} until it has finished)."""

    path: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    problem: str = ""

    @cached_property
    def state(self) -> State:
        """`interrupted` runs have a checkpoint to resume from, `unfinished` ones have none."""
        if self.problem:
            return "damaged"
        if self.summary:
            return "finished"
        if is_training(self.path):
            return "running"
        last = RunDirectory(self.path).checkpoint("last")
        return "interrupted" if last.is_file() else "unfinished"

    @cached_property
    def remark(self) -> str:
        """What is wrong with it: its problem, or where its loss became NaN or infinite."""
        if self.state not in ("interrupted", "unfinished"):
            return self.problem
        done = int(self.rows[-1].get("step") or 0) if self.rows else 0
        try:
            step = int(read_json(RunDirectory(self.path).bad_batch)["step"])
        except (UserError, KeyError, TypeError, ValueError):
            return ""
        return f"diverged at step {step:,}" if step >= done else ""  # else it was resumed

    @cached_property
    def code(self) -> dict[str, str]:
        """Short hashes, by name, of the user's own code files that it was trained with."""
        held = RunDirectory(self.path).read_identity().get("code")
        known = held if isinstance(held, dict) else {}
        return {str(name): str(content) for name, content in known.items()}

    @property
    def name(self) -> str:
        return str(self.settings.get("name", self.path.parent.name))

    @property
    def task(self) -> str:
        return str(self.settings.get("task.name", self.settings.get("task", "classify")))

    @property
    def seed(self) -> int:
        return int(self.settings.get("seed", 0))

    @cached_property
    def declared(self) -> dict[str, Metric]:
        """Its task's declared metrics; {} for an unfinished or older run."""
        return read_metrics(self.summary.get("metrics"))

    def metric(self, name: str) -> Metric:
        return described(name, self.declared)

    @property
    def monitor(self) -> str | None:
        """The metric that chose the best epoch; None without a validation split."""
        if "monitor" in self.summary:
            monitor: str | None = self.summary["monitor"]
            return monitor
        if self.summary and not self.metric_names["validation"]:
            return None
        wanted = self.settings.get("training.monitor", "auto")
        return usual_monitor(self.task) if wanted == "auto" else str(wanted)

    @property
    def main_metric(self) -> str | None:
        """Its main metric."""
        known = [name for split in SPLITS for name in self.metric_names[split]]
        return main_metric(self.task, known, self.summary.get("main_metric") or "")

    @cached_property
    def started(self) -> datetime:
        """From the directory's name, or from the config's date if it was renamed."""
        try:
            return datetime.strptime(self.path.name[:15], "%Y%m%d-%H%M%S")
        except ValueError:
            config = RunDirectory(self.path).config
            return datetime.fromtimestamp(config.stat().st_mtime if config.is_file() else 0)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The log, a row per epoch, as far as it is readable: numbers, None for others."""
        try:
            rows = RunDirectory(self.path).read_metrics()
        except (OSError, ValueError, RecursionError, UserError):
            return []
        kept = [row for row in rows if isinstance(row, dict)]
        return [{k: v for k, v in row.items() if v is None or _is_number(v)} for row in kept]

    @property
    def epochs(self) -> int:
        """Number of trained epochs."""
        return int(self.summary.get("epochs", 0)) if self.summary else len(self.rows)

    @cached_property
    def best(self) -> dict[str, Any]:
        """The row of the best epoch so far, or of the last without validation; {} for none."""
        if self.summary:
            return dict(self.summary.get("best") or {})
        if not self.rows or self.monitor is None:
            return {}
        key, higher = f"validation_{self.monitor}", self.metric(self.monitor).higher_is_better
        if key not in self.rows[0] or higher is None:
            return self.rows[-1]

        def goodness(row: dict[str, Any]) -> float:
            value = number(row, key)
            return -math.inf if value is None or math.isnan(value) else value if higher else -value

        return max(self.rows, key=goodness)

    def score(self, split: Split, metric: str) -> float | None:
        """The score of the best epoch's weights; may be NaN; None if there is none.

        NaN and what is undefined (R2 of equal values) are both null in the files: where the
        loss is a number, it was undefined.
        """
        if split == "test":
            values, prefix = self.summary.get("test"), ""
        else:
            values, prefix = self.best, f"{split}_"
        value, loss = (number(values, f"{prefix}{name}") for name in (metric, "loss"))
        if value is None or not math.isnan(value) or loss is None or math.isnan(loss):
            return value
        return None

    @cached_property
    def metric_names(self) -> dict[Split, list[str]]:
        """The metrics of each split."""
        test = self.summary.get("test")
        found: dict[Split, list[str]] = {"test": list(test) if isinstance(test, dict) else []}
        for split in SPLITS[1:]:
            found[split] = [
                key.partition("_")[2] for key in self.best if key.startswith(f"{split}_")
            ]
        return found


def number(values: Any, key: str) -> float | None:
    """`values[key]` if it is a number, NaN for null, None if there is no such key."""
    if not isinstance(values, dict) or key not in values:
        return None
    value = values[key]
    if value is None:
        return math.nan
    return float(value) if isinstance(value, (int, float)) else None


def _is_number(value: Any) -> bool:
    # JSON values, hundreds of thousands of them: `isinstance` would dominate the time.
    return type(value) is float or (type(value) is int and is_usable(value))


def find_runs(paths: Iterable[Path | str]) -> list[RunRecord]:
    """All runs at and below `paths`, sorted by name.

    Of a study, only those that it compares, not the ones trained first for their weights.

    Raises:
        UserError: a path does not exist, or there is no run at all.
    """
    searched = [Path(path) for path in paths]
    folders = find_folders(searched)
    if not folders:
        raise UserError(f"no run below {', '.join(map(str, searched))}")
    return [read_run(folder) for folder in with_progress("reading runs", folders)]


def find_folders(paths: Iterable[Path]) -> list[Path]:
    """The directories of the runs of `find_runs`, perhaps none.

    Raises:
        UserError: a path does not exist.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: there is no such run or folder")
        compared = path / "runs" if (path / "study.json").is_file() else path
        folders |= dict.fromkeys(_run_folders(compared))
    return list(folders)


def _run_folders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:  # not readable, or just removed
        return
    names = {entry.name for entry in entries}
    if "config.yaml" in names and names.intersection(_SIGNS):
        yield folder
    for entry in entries:
        if entry.name not in _INSIDE and entry.is_dir(follow_symlinks=False):
            yield from _run_folders(folder / entry.name)


def read_run(path: Path) -> RunRecord:
    """The run at `path`; one that can't be read counts as damaged."""
    directory = RunDirectory(path)
    try:
        values = _read_config(read_text(directory.config, CONFIG_BYTES))
        settings, summary = _nested_by_name(flattened(values)), directory.read_summary()
        check_settings(settings)
        check_summary(summary)
        return RunRecord(path, settings, summary)
    except _UNREADABLE as error:
        problem = str(error).partition("\n")[0].removeprefix(f"{path}{os.sep}")
        return RunRecord(path, {}, {}, problem=problem or type(error).__name__)


def _nested_by_name(settings: dict[str, Any]) -> dict[str, Any]:
    """`model.encoder.name` as `model.encoder`, as a component that has no other keys is written."""
    return {
        key.removesuffix(".name") if key.count(".") > 1 else key: value
        for key, value in settings.items()
    }


def _read_config(text: str) -> dict[str, Any]:
    """The values of a config written by cnnrun.

    Sections are cached, as most are the same in many runs: 5,000 configs take 0.1 s instead of 2.
    """
    try:
        values: Any = {}
        for section in _SECTION.split(text):
            values |= _read_section(section) if section.strip() else {}
    except (
        yaml.YAMLError,
        TypeError,
        ValueError,
        UserError,
    ):  # can't be divided: for example an anchor
        values = plain(text)
    if not isinstance(values, dict) or not values:
        raise ValueError("config.yaml is not a mapping")
    return values


@lru_cache(maxsize=4096)
def _read_section(text: str) -> Any:
    return plain(text)
