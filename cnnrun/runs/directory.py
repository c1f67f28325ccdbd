"""The run directory: everything that a run writes, and all that later commands read.

<output>/<name>/<time>-<short id>/
    config.yaml        the complete experiment; `cnnrun train RUN/config.yaml` repeats it
    environment.json   versions, device, command; what the run was computed from
    metrics.jsonl      one line per epoch; no clock times, so equal runs have equal files
    changes.jsonl      settings changed when the run was resumed (if any)
    summary.json       written last: best epoch, test scores, speed
    checkpoints/       last.pt, best.pt
    plots/             what was drawn
    bad_files.csv      image files that could not be decoded, and why (if any)
"""

from __future__ import annotations

import csv
import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.runtime.files import UNFINISHED, explain_disk_errors, force_to_disk, write_text
from cnnrun.runtime.reading import TEXT_BYTES, UnusableFileError, parse_json, read_bytes, read_json
from cnnrun.runtime.strict_json import to_json


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run, and its text files."""

    path: Path

    @classmethod
    def create(cls, output: Path, name: str) -> RunDirectory:
        """A new directory, unique even if two runs start in the same instant.

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
                raise UserError(f"output: {output} is in the way: it is not a directory") from None
            except OSError as error:
                raise UserError(
                    f"output: can't write to {output} ({error.strerror}); choose output=DIR"
                ) from error
            return cls(path)

    @classmethod
    def find(cls, path: Path) -> RunDirectory:
        """The run at `path`.

        Raises:
            UserError: there is no run; if there are runs below it, the message names the newest.
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
    def changes(self) -> Path:
        return self.path / "changes.jsonl"

    @property
    def logged(self) -> Path:
        """What the loggers already know, see `Reports`."""
        return self.path / "loggers.json"

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
        """Record the (path, reason) of every file that could not be decoded."""
        with (
            explain_disk_errors(self.bad_files),
            self.bad_files.open("w", encoding="utf-8", errors="surrogateescape", newline="") as f,
        ):
            csv.writer(f).writerows([("path", "reason"), *rows])

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def checkpoint(self, name: str) -> Path:
        """The checkpoint file `last` or `best`."""
        return self.path / "checkpoints" / f"{name}.pt"

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of a process that was killed while it wrote them."""
        for folder in (self.path, self.path / "checkpoints", self.plots):
            for ending in (UNFINISHED, ".part"):  # temporary files of `plots.style.save`
                for file in folder.glob(f".*{ending}"):
                    file.unlink(missing_ok=True)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a row to the log.

        Raises:
            UserError: for example, the disk is full.
        """
        with explain_disk_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(to_json(_finite(row)) + "\n")
            stream.flush()
            force_to_disk(stream.fileno())  # the checkpoint that relies on this row is on disk, too

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of the log by epoch; invalid lines, such as truncated ones, are left out.

        Raises:
            UserError: it can't be read.
        """
        return [row for row, _ in self._log()]

    def keep_metrics(self, epochs: int) -> None:
        """Drop the rows after `epochs`, which a resumed run is about to write again."""
        lines = [line + "\n" for row, line in self._log() if row["epoch"] <= epochs]
        write_text(self.metrics, "".join(lines))

    def _log(self) -> list[tuple[dict[str, Any], str]]:
        """Rows of the log and their lines, sorted by epoch; the later of two rows for an epoch."""
        found = {}
        for row, line in _json_lines(self.metrics):
            epoch = row.get("epoch")
            if isinstance(epoch, int) and epoch >= 1 and all(map(_is_number, row.values())):
                found[epoch] = row, line
        return [found[epoch] for epoch in sorted(found)]

    def read_changes(self) -> list[dict[str, Any]]:
        """Settings changed on resuming, oldest first: `epoch` and `step` done by then, `key`, and
        its `old` and `new` value.

        Raises:
            UserError: the file can't be read.
        """
        return [change for change, _ in _json_lines(self.changes) if "key" in change]

    def append_changes(self, changes: Iterable[dict[str, Any]]) -> None:
        """Record changes; see `read_changes`."""
        lines = [line + "\n" for _, line in _json_lines(self.changes)]
        lines += [to_json(_finite(change)) + "\n" for change in changes]
        write_text(self.changes, "".join(lines))

    def read_identity(self) -> dict[str, Any]:
        """What the run was computed from, see `runs.identity.record`; {} if unknown."""
        try:
            held = read_json(self.environment)["identity"]
        except (UserError, KeyError, TypeError):
            return {}
        return held if isinstance(held, dict) else {}

    def read_summary(self) -> dict[str, Any]:
        """The summary; empty until the run has finished.

        Raises:
            UserError: it is damaged, not a text file, or larger than any real one.
        """
        if not self.summary.exists():
            return {}
        try:
            summary = parse_json(_bytes_of(self.summary).decode())
        except ValueError:
            summary = None
        if not isinstance(summary, dict):
            message = "is damaged; remove it, and --resume writes it again"
            raise UserError(f"{self.summary}: {message}")
        return summary


def _bytes_of(file: Path) -> bytes:
    try:
        return read_bytes(file, TEXT_BYTES)
    except UnusableFileError as error:
        raise UserError(f"{file}: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror})") from error


def _json_lines(file: Path) -> list[tuple[dict[str, Any], str]]:
    """The mappings in a JSON-lines file, and their lines; other lines are left out."""
    if not file.exists():
        return []
    found = []
    for raw in _bytes_of(file).split(b"\n"):
        try:
            line = raw.decode()
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append((row, line))
    return found


def _is_number(value: Any) -> bool:
    """The values of a row of the log; None for a non-finite number."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN or infinity: they become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
