"""One process at a time works in a run directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnrun.errors import UserError
from cnnrun.runs.directory import RunDirectory


@contextmanager
def alone_in(run: RunDirectory) -> Iterator[None]:
    """Within the block no other process trains this run; the lock ends with its process.

    Raises:
        UserError: another one does.
    """
    # The folder itself: its files are replaced while it trains.
    lock = os.open(run.path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training {run.path}") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(lock)


def is_training(path: Path) -> bool:
    """Whether a process is at work in `path`: it holds a lock on the folder."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(folder)
    return False
