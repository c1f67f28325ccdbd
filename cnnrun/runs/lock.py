"""One process at a time trains in a run directory."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnrun.errors import UserError
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.file_lock import lock

# Who only asks whether a run trains holds its lock for microseconds, and is waited for.
_PATIENCE = 2.0


TAKEN = "another process is training"
"""How the message of a run that somebody trains begins."""


class TakenError(UserError):
    """Another process is at work there."""


@contextmanager
def alone_in(run: RunDirectory) -> Iterator[None]:
    """Within the block no other process trains this run; the lock ends with its process.

    Raises:
        TakenError: another one does.
    """
    handle = _exclusively(run.path)
    if handle is None:
        raise TakenError(f"{TAKEN} {run.path}")
    with _closed_at_the_end(handle):
        yield


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Within the block no other process is in its own block for `folder`; it waits for them."""
    handle = _opened(folder)
    with _closed_at_the_end(handle):
        if handle >= 0:
            lock(handle, wait=True)
        yield


def is_training(path: Path) -> bool:
    """Whether a process is at work in `path`: it holds a lock on the folder."""
    # The folder itself is locked: its files are replaced while it trains.
    handle = _opened(path)
    with _closed_at_the_end(handle):
        return handle >= 0 and lock(handle, shared=True) is False


def _exclusively(folder: Path) -> int | None:
    """A handle that holds the lock, -1 where there are none; None where another process has it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        handle = _opened(folder)
        if handle < 0 or lock(handle) is not False:
            return handle
        # Held to train, or shared for an instant by `is_training`?
        trains = lock(handle, shared=True) is False
        os.close(handle)
        if trains or time.monotonic() > deadline:
            return None
        time.sleep(random.uniform(0.001, 0.01))


def _opened(folder: Path) -> int:
    """A handle of `folder`; -1 where there is none to be had, as on Windows."""
    try:
        return os.open(folder, os.O_RDONLY)
    except OSError:
        return -1


@contextmanager
def _closed_at_the_end(handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)
