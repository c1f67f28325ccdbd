"""The log as a CSV file, for spreadsheets and pandas."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from cnnrun.registry import loggers
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.loggers.logger import Logger, Row
from cnnrun.runtime.files import write_text


@loggers.register("csv")
class CsvFile(Logger):
    """`metrics.csv` in the run directory, one row per epoch."""

    def start(
        self,
        run: Path,
        config: dict[str, Any],  # noqa: ARG002
        known: dict[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        self.run = RunDirectory(run)
        return {}

    def epoch(self, row: Row) -> None:  # noqa: ARG002
        """Rewrites all rows: a later one may have a new column."""
        rows = self.run.read_metrics()
        columns = dict.fromkeys(key for one in rows for key in one)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.run.path / "metrics.csv", text.getvalue())
