"""What a logger is told, and when."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError

Row = Mapping[str, Any]
"""A line of the log, as in `metrics.jsonl`: `epoch` from 1, `step`, `lr`, `train_loss` ..."""


class Logger:
    """Writes a run's log for another tool. Each method may fail: training goes on without it."""

    def begin(self, run: Path, config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Before training, and again when a run goes on.

        run: its directory. config: the complete experiment. known: what this returned at first,
        {} then; so that a run that goes on is the same run in the other tool. `epochs` in what is
        returned says how many it knows already, where it is another number than it was told of.
        """
        raise NotImplementedError

    def epoch(self, row: Row) -> None:
        """After each epoch, in order; after a kill, perhaps the last one again."""

    def plot(self, name: str, file: Path) -> None:
        """A PNG that the run has drawn, when it has ended."""
        self.picture(name, file)

    def picture(self, name: str, file: Path) -> None:
        """What `plot` was called; loggers that were written then are still told."""

    def end(self, summary: dict[str, Any]) -> None:
        """The run has finished, with what is in `summary.json`; {} where it stopped or failed."""


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
    """The numbers of a row, but for the count of epochs; what is no number is left out."""
    return {
        key: float(value)
        for key, value in row.items()
        if key != "epoch" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
