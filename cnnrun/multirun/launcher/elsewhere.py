"""Common to the engines: a submitted run, polled until it has ended."""

from __future__ import annotations

import io
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cnnrun.errors import UserError
from cnnrun.multirun.launcher.remote import Ended, brought_back
from cnnrun.runtime.files import explain_disk_errors, write_text

_LOOK_SECONDS = 0.2


class Elsewhere:
    """A `Training` that an engine can poll and stop."""

    def __init__(
        self, ask: Callable[[], Ended | None], cancel: Callable[[], None], log: Path, output: Path
    ) -> None:
        """ask: returns how it ended, None while it runs; output: the folder for its runs."""
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self._ask, self._cancel, self._log, self._output = ask, cancel, log, output
        self._next_look = 0.0

    def poll(self) -> int | None:
        if self.returncode is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            ended = self._ask()
            if ended is not None:
                self._take(brought_back(ended, self._output))
        return self.returncode

    def _take(self, ended: Ended) -> None:
        with explain_disk_errors(self._log):
            self._log.write_text(ended.said, encoding="utf-8")
        self.stdout = io.StringIO(ended.printed)
        self.returncode = ended.code

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("cnnrun train", timeout or 0.0)
            time.sleep(_LOOK_SECONDS)
        return code

    def terminate(self) -> None:
        self._cancel()

    def kill(self) -> None:
        self._cancel()
        self._take(Ended(-signal.SIGKILL, "", "did not stop in time"))


def new_mark(folder: Path) -> Path:
    """A file whose content only machines with this disk can read."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".shared"
    if not mark.is_file():
        write_text(mark, secrets.token_hex(16))
    return mark


@contextmanager
def package_of(name: str, option: str) -> Iterator[None]:
    """Within the block `name` is imported.

    Raises:
        UserError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{option} needs the package `{name}`: pip install 'cnnrun[{option.split()[-1]}]'"
        ) from error
