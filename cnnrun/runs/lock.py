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

# Checking whether a run trains holds its lock for microseconds, so wait for that.
_PATIENCE = 2.0


TAKEN = "another process is training"
"""The start of the message about a run in training."""


class TakenError(UserError):
    """Another process is working there."""


@contextmanager
def alone_in(run: RunDirectory) -> Iterator[None]:
    """Within the block no other process trains this run; the lock ends with its process.

    Raises:
        TakenError: another process does.
    """
    handle = _exclusively(run.path)
    if handle is None:
        raise TakenError(f"{TAKEN} {run.path}")
    with _closed_at_the_end(handle):
        yield


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Within the block no other process is in such a block for `folder`; waits for them."""
    handle = _opened(folder)
    with _closed_at_the_end(handle):
        if handle >= 0:
            lock(handle, wait=True)
        yield


def is_training(path: Path) -> bool:
    """Whether a process is training in `path`: it holds a lock on the folder."""
    # The folder itself is locked: its files are replaced while it trains.
    handle = _opened(path)
    with _closed_at_the_end(handle):
        return handle >= 0 and lock(handle, shared=True) is False


def _exclusively(folder: Path) -> int | None:
    """A descriptor that holds the lock; -1 without locks; None if another process holds it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        handle = _opened(folder)
        if handle < 0 or lock(handle) is not False:
            return handle
        # Held for training, or shared for an instant by `is_training`?
        trains = lock(handle, shared=True) is False
        os.close(handle)
        if trains or time.monotonic() > deadline:
            return None
        time.sleep(random.uniform(0.001, 0.01))


def _opened(folder: Path) -> int:
    """A descriptor of `folder`; -1 if there is none, as on Windows."""
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
