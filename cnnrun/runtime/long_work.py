"""Progress of long work, shown once it takes longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from cnnrun.runtime import console
from cnnrun.runtime.epoch_table import duration

T = TypeVar("T")

_AFTER = 2.0
# Seconds between two reports: on a terminal, where each replaces the one before, and elsewhere.
_EACH, _EACH_LINE = 0.5, 30.0


class Progress:
    """Called with (what is done, pieces done, pieces in all) at the start, on the way and at the
    end; reports on stderr what takes more than two seconds."""

    def __init__(self) -> None:
        self._what, self._started, self._next = "", 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._started, self._next = what, now, now + _AFTER
        if done >= total:
            self._what = ""
        elif now >= self._next:
            left = (now - self._started) / done * (total - done) if done else 0.0
            ending = f", {duration(left)} left" if left else ""
            message = f"{what}: {done:,} of {total:,}{ending}"
            on_terminal = console.stderr.isatty()
            self._next = now + (_EACH if on_terminal else _EACH_LINE)
            console.stage(message) if on_terminal else console.note(message)


def with_progress(what: str, items: Sequence[T]) -> Iterator[T]:
    """The items, with their progress shown."""
    progress = Progress()
    for done, item in enumerate(items):
        progress(what, done, len(items))
        yield item
    progress(what, len(items), len(items))
