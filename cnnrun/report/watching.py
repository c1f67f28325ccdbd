"""Runs during training: what is new since the last request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from cnnrun.comparison.runs import RunRecord, find_folders, read_run
from cnnrun.errors import UserError
from cnnrun.report.board import (
    MOST_CHOSEN,
    MOST_EPOCHS,
    MOST_RUNS,
    Outline,
    differing,
    losses_of,
    most_epochs,
    progress,
    relative_values,
    shared,
    thinned,
    values,
)
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.lock import is_training

_NUMBERS = 2_000_000  # of all logs, about 15 MB on their way to the browser
_PAUSE = 0.5  # minimum seconds between two reads of the disk


@dataclass
class _Seen:
    """A run as it was read, and the signs that it must be read again."""

    signs: tuple[Any, ...]
    run: RunRecord
    outline: Outline
    values: dict[str, Any]
    version: int = 0


class Watch:
    """The runs at and below some folders; threads may ask at once."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._lock = Lock()
        self._looked = -_PAUSE
        self._version = 0
        self._runs: dict[Path, _Seen] = {}
        self._gone: dict[Path, int] = {}
        # What the runs' values depend on besides the run itself.
        self._keys: list[str] = []
        self._losses: dict[Path, str] = {}
        self._most = MOST_EPOCHS

    def news(self, since: int = 0) -> dict[str, Any]:
        """What the page gets: as `board.held`, of the runs that changed after version `since`.

        The oldest run comes first.
        """
        with self._lock:
            if time.monotonic() - self._looked >= _PAUSE:
                self._look()
                self._looked = time.monotonic()
            seen = sorted(self._runs.values(), key=lambda one: one.run.started)
            runs = [one.run for one in seen]
            return {
                **shared([one.outline for one in seen], self._keys),
                "version": self._version,
                "chosen": [str(run.path) for run in runs[-MOST_CHOSEN:]],
                "gone": [str(path) for path, version in self._gone.items() if version > since],
                "runs": [one.values for one in seen if one.version > since],
            }

    def image(self, folder: str, epoch: int) -> Path | None:
        """The file of a run's image after an epoch, if there is such a run with such an image."""
        with self._lock:
            seen = self._runs.get(Path(folder))
        return dict(progress(seen.run)).get(epoch) if seen else None

    def _look(self) -> None:
        """Read what has changed on the disk."""
        try:
            folders = find_folders(self.paths)[-MOST_RUNS:]
        except UserError:  # a folder that was there is gone
            folders = []
        changed = [folder for folder in folders if self._read_again(folder)]
        gone = self._runs.keys() - set(folders)
        if not changed and not gone:
            return
        self._version += 1
        for path in gone:
            del self._runs[path]
            self._gone[path] = self._version
        runs = [seen.run for seen in self._runs.values()]
        most = most_epochs([seen.outline for seen in self._runs.values()], _NUMBERS)
        others = (differing(runs), losses_of(runs), most)
        others_too = others != (self._keys, self._losses, self._most)
        self._keys, self._losses, self._most = others
        for path in self._runs if others_too else changed:
            self._update(path)

    def _update(self, path: Path) -> None:
        """Update a run's values that depend on the others."""
        seen = self._runs[path]
        self._gone.pop(path, None)
        seen.version = self._version
        seen.values |= relative_values(seen.run, self._keys, self._losses.get(path, ""))
        seen.values["log"] = thinned(seen.values["log"], self._most)

    def _read_again(self, folder: Path) -> bool:
        """Read the run again if it is new or has changed; returns whether it was."""
        signs = _signs(folder)
        seen = self._runs.get(folder)
        if seen and seen.signs == signs:
            return False
        run = read_run(folder)
        shown = values(run, (), "", _addresses, most_epochs=self._most)
        # A copy: this one has cached its whole log, which would stay in memory.
        self._runs[folder] = _Seen(signs, replace(run), Outline.of(run), shown)
        return True


def _signs(folder: Path) -> tuple[Any, ...]:
    """The signs of a changed run: its files, and whether a process is training it."""
    run = RunDirectory(folder)
    watched = (run.config, run.metrics, run.summary, run.plots / "progress")
    return (*map(_state, watched), run.summary.is_file() or is_training(folder))


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _addresses(run: RunRecord, found: Sequence[tuple[int, Path]]) -> list[tuple[int, str]]:
    """Where `serving.py` answers with the images."""
    from urllib.parse import quote

    return [(epoch, f"image?run={quote(str(run.path))}&epoch={epoch}") for epoch, _ in found]
