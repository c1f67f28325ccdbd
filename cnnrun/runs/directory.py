"""The run directory: everything that a run leaves, and the only thing that later commands read.

<output>/<name>/<time>-<short id>/
    config.yaml        the complete experiment; `cnnrun train RUN/config.yaml` repeats it
    environment.json   versions, device, command
    metrics.jsonl      one line an epoch; no clock times, so equal runs have equal files
    summary.json       the end of it: best epoch, test scores, speed
    checkpoints/       last.pt, best.pt
    plots/             pictures
    bad_files.csv      image files that could not be decoded, and why (where there are any)
"""

from __future__ import annotations

import csv
import json
import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.runtime.files import UNFINISHED, disk_errors_told, force_to_disk, write_atomically
from cnnrun.runtime.strict_json import to_json


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run, and reading and writing its text files."""

    path: Path

    @classmethod
    def create(cls, output: Path, name: str) -> RunDirectory:
        """A new directory that no other run has, were both started in the same instant.

        Raises:
            UserError: nothing can be written there.
        """
        while True:
            path = output / name / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
            try:
                path.mkdir(parents=True)
                (path / "checkpoints").mkdir()
                (path / "plots").mkdir()
            except FileExistsError:
                if path.is_dir():
                    continue
                raise UserError(f"output: {output} is in the way and is no directory") from None
            except OSError as error:
                raise UserError(
                    f"output: can't write to {output} ({error.strerror}); choose output=DIR"
                ) from error
            return cls(path)

    @classmethod
    def find(cls, path: Path) -> RunDirectory:
        """The run at `path`.

        Raises:
            UserError: there is no run; when runs lie below it, the message names the newest.
        """
        if (path / "config.yaml").is_file():
            return cls(path)
        if not path.exists():
            raise UserError(f"{path}: there is no such run")
        below = sorted(path.glob("**/config.yaml"), key=lambda file: file.stat().st_mtime)
        hint = f"; the newest run below it is {below[-1].parent}" if below else ""
        raise UserError(f"{path}: not a run directory (no config.yaml in it){hint}")

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def bad_batch(self) -> Path:
        return self.path / "bad_batch.json"

    @property
    def bad_files(self) -> Path:
        return self.path / "bad_files.csv"

    def write_bad_files(self, rows: Iterable[tuple[str, str]]) -> None:
        """Note the (path, reason) of every file that could not be decoded."""
        with (
            disk_errors_told(self.bad_files),
            self.bad_files.open("w", encoding="utf-8", errors="surrogateescape", newline="") as f,
        ):
            csv.writer(f).writerows([("path", "reason"), *rows])

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def checkpoint(self, name: str) -> Path:
        """The file of the checkpoint called `last` or `best`."""
        return self.path / "checkpoints" / f"{name}.pt"

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of a process that was killed while it wrote them."""
        for folder in (self.path, self.path / "checkpoints", self.plots):
            for ending in (UNFINISHED, ".part"):  # what `plots.style.save` writes to
                for file in folder.glob(f".*{ending}"):
                    file.unlink(missing_ok=True)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a row to the log.

        Raises:
            UserError: the disk is full, say.
        """
        with disk_errors_told(self.metrics), self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(to_json(_finite(row)) + "\n")
            stream.flush()
            force_to_disk(stream.fileno())  # the checkpoint that counts on this row is on disk, too

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of the log; a last line that a crash cut short is left out."""
        rows = []
        if self.metrics.is_file():
            for line in self.metrics.read_text(encoding="utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows

    def keep_metrics(self, epochs: int) -> None:
        """Drop the rows after `epochs`, which a resumed run is about to write again."""
        rows = [to_json(row) + "\n" for row in self.read_metrics() if row["epoch"] <= epochs]
        write_atomically(self.metrics, lambda stream: stream.write("".join(rows).encode()))

    def read_summary(self) -> dict[str, Any]:
        """The summary, or an empty dict while the run has not ended.

        Raises:
            UserError: it is damaged.
        """
        if not self.summary.is_file():
            return {}
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
        except ValueError as error:
            told = "is damaged; remove it, and --resume makes it anew"
            raise UserError(f"{self.summary}: {told}") from error
        return dict(summary)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity; what is not a number is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
