"""One process at a time works in a run directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnrun.errors import UserError
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.file_lock import lock


@contextmanager
def alone_in(run: RunDirectory) -> Iterator[None]:
    """Within the block no other process trains this run; the lock ends with its process.

    Raises:
        UserError: another one does.
    """
    # The folder itself: its files are replaced while it trains.
    try:
        folder = os.open(run.path, os.O_RDONLY)
    except OSError:
        if not run.path.is_dir():
            raise
        yield  # Windows opens no folders: there is no lock
        return
    try:
        if lock(folder) is False:
            raise UserError(f"another process is training {run.path}")
        yield
    finally:
        os.close(folder)


def is_training(path: Path) -> bool:
    """Whether a process is at work in `path`: it holds a lock on the folder."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return lock(folder, shared=True) is False
    finally:
        os.close(folder)
