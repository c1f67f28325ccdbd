"""The interface of a logger."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.runtime.former_names import accept_former

Row = Mapping[str, Any]
"""A line of the log, as in `metrics.jsonl`: `epoch` from 1, `step`, `lr`, `train_loss` ..."""


class Logger:
    """Writes a run's log for another tool. Each method may fail: training continues without it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        accept_former(cls, _FORMER)

    def start(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Called before training, and again when a run is resumed.

        run: its directory. config: the complete experiment. known: what this returned the first
        time ({} then), so that a resumed run stays the same run in the other tool. `epochs` in the
        returned dict is the number that it already has, if it differs from the number of calls.
        """
        raise NotImplementedError

    def epoch(self, row: Row) -> None:
        """Called after each epoch, in order; after a kill, perhaps with the last one again."""

    def plot(self, name: str, file: Path) -> None:
        """Called with each PNG that the run has drawn, when it has ended."""

    def end(self, summary: dict[str, Any]) -> None:
        """Called at the end with the content of `summary.json`; {} if the run stopped or failed."""


_FORMER = {"begin": "start", "picture": "plot"}
accept_former(Logger, _FORMER)


def require(module: str, extra: str) -> Any:
    """The imported `module`.

    Raises:
        UserError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{extra}: pip install 'cnnrun[{extra}]' ({error})") from error


def numbers(row: Row) -> dict[str, float]:
    """The numbers of a row, except the epoch; other values are left out."""
    return {
        key: float(value)
        for key, value in row.items()
        if key != "epoch" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
