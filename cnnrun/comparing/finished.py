"""Run directories as they are found on disk, each as far as it got."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from cnnrun.document import flattened
from cnnrun.errors import UserError
from cnnrun.run import RunDirectory

State = Literal["finished", "unfinished", "damaged"]

# Where and how often a run happened is not what it is.
NOT_COMPARED = ("name", "output", "device", "seed", "plugins")

# Measures of which less is better; of others, more.
_LESS_IS_BETTER = ("loss", "mse", "content", "style", "smoothness", "ece")
_PREFERRED = ("accuracy", "mse", "loss")


@dataclass(frozen=True)
class Run:
    """One run: its settings as dotted keys, its log, and its summary ({} until it has ended)."""

    path: Path
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    problem: str = ""

    @property
    def state(self) -> State:
        if self.problem:
            return "damaged"
        return "finished" if self.summary else "unfinished"

    @property
    def seed(self) -> int:
        return int(self.settings.get("seed", 0))

    @cached_property
    def compared(self) -> dict[str, Any]:
        """The settings that make runs alike or different; seeds do not."""
        return {
            key: value
            for key, value in self.settings.items()
            if key.partition(".")[0] not in NOT_COMPARED
        }

    def score(self, measure: str) -> float | None:
        """The final figure: of the test split, or else the best epoch's on the validation split."""
        for values in (self.summary.get("test", {}), self.summary.get("best", {})):
            for key in (measure, f"validation_{measure}", f"train_{measure}"):
                if isinstance(values.get(key), (int, float)):
                    return float(values[key])
        return None


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """All runs at and below `paths`, in the order of their names.

    Raises:
        UserError: a path is not there, or there is no run at all.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: there is no such run or folder")
        found = [path] if (path / "config.yaml").is_file() else []
        found += [file.parent for file in sorted(path.glob("*/**/config.yaml"))]
        folders |= dict.fromkeys(found)
    if not folders:
        raise UserError(f"no run below {', '.join(map(str, paths))}")
    return [read_run(folder) for folder in folders]


def read_run(path: Path) -> Run:
    """The run at `path`; one that can't be read is told as damaged."""
    directory = RunDirectory(path)
    try:
        values = yaml.load(
            directory.config.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        if not isinstance(values, dict):
            raise ValueError("config.yaml is no mapping")
        return Run(path, flattened(values), directory.read_metrics(), directory.read_summary())
    except (OSError, ValueError, yaml.YAMLError, json.JSONDecodeError) as error:
        return Run(path, {}, [], {}, problem=str(error).partition("\n")[0])


def measures_of(runs: list[Run]) -> list[str]:
    """What finished runs were scored by, the preferred first."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys(run.summary.get("test", {}))
        for key in run.summary.get("best", {}):
            split, _, measure = key.partition("_")
            if split in ("train", "validation"):
                names[measure] = None
    return sorted(names, key=lambda n: _PREFERRED.index(n) if n in _PREFERRED else len(_PREFERRED))


def more_is_better(measure: str) -> bool:
    return measure not in _LESS_IS_BETTER
