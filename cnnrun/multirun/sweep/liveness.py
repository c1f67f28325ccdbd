"""Whether the process that claimed a trial is alive: known at once on the same machine."""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path
from typing import IO

from cnnrun.runtime.file_lock import lock

_SUFFIX = ".alive"
# Between creating and locking the file, its process must not count as dead.
_FORGET_SECONDS = 60


class Liveness:
    """A file in `folder` that stays locked as long as this process lives.

    The lock ends with the process, however it ends; a process id could be reused.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.name = secrets.token_hex(6)
        self._stream: IO[str] = self._file(self.name).open("w")
        lock(self._stream.fileno())

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"

    def is_dead(self, name: str) -> bool:
        """Whether the process called `name` is known to have ended.

        Unknown for another machine without such a file here; its heartbeat decides.
        """
        if name == self.name or not self._file(name).is_file():
            return False
        with self._file(name).open("r") as stream:
            # Without locks, its heartbeat decides.
            return lock(stream.fileno(), shared=True) is True

    def forget_dead(self) -> None:
        """Remove the files of processes that ended a while ago, whose trials were taken back."""
        for file in self.folder.glob(f"{'[0-9a-f]' * 12}{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                old = time.time() - file.stat().st_mtime > _FORGET_SECONDS
                if old and self.is_dead(file.stem):
                    file.unlink()

    def leave(self) -> None:
        self._file(self.name).unlink(missing_ok=True)
        self._stream.close()
