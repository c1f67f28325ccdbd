"""A disk that fails: what Python creates, writes, syncs and renames below a folder, with faults."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAULTS = {
    "full": errno.ENOSPC,  # and it stays full
    "broken": errno.EIO,  # this one operation
    "short": errno.ENOSPC,  # half of a write is done, as the system tells; then the disk is full
}


class FaultyDisk:
    """Below `root`, operation number `fails_at` (from 1) has the fault; 0 counts operations alone.

    Operations are: making a folder, making a file, each write that reaches the system, forcing a
    file or folder to disk, and renaming. Removing works on a full disk too.
    """

    def __init__(self, root: Path, fails_at: int = 0, fault: str = "full") -> None:
        self.root, self.fails_at, self.fault = root.resolve(), fails_at, fault
        self.operations = 0
        self.replaced: dict[Path, bytes] = {}
        self._handles: set[int] = set()
        self._open, self._os_open, self._mkdir = io.open, os.open, os.mkdir
        self._fsync, self._replace = os.fsync, os.replace

    def attach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let all of this process work on it."""
        for module in (io, builtins):
            monkeypatch.setattr(module, "open", self.open)
        for name in ("mkdir", "fsync", "replace"):
            monkeypatch.setattr(os, name, getattr(self, name))
        monkeypatch.setattr(os, "open", self.os_open)

    def _is_below(self, file: Any) -> bool:
        if isinstance(file, int):
            return file in self._handles
        return Path(os.path.abspath(os.fspath(file))).is_relative_to(self.root)  # noqa: PTH100

    def _count(self) -> bool:
        """Count an operation; whether it is the one that writes but half."""
        self.operations += 1
        if not self.fails_at or self.operations < self.fails_at:
            return False
        now = self.operations == self.fails_at
        if self.fault == "short" and now:
            return True
        if now or self.fault != "broken":
            number = FAULTS[self.fault]
            raise OSError(number, os.strerror(number))
        return False

    def write(self, write: Callable[[Any], int], content: Any) -> int:
        half = self._count()
        return write(memoryview(content).cast("B")[: len(content) // 2] if half else content)

    def open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+") or not self._is_below(file):
            return self._open(file, mode, *arguments, **options)
        if not isinstance(file, int):
            self._count()
        raw = _Raw(self, file, mode.replace("b", "").replace("t", ""))
        stream = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return stream
        chosen = {key: options.get(key) for key in ("encoding", "errors", "newline")}
        return io.TextIOWrapper(stream, **chosen)

    def os_open(self, file: Any, flags: int, *arguments: Any, **options: Any) -> int:
        below = self._is_below(file)
        if below and flags & os.O_CREAT:
            self._count()
        handle = self._os_open(file, flags, *arguments, **options)
        self._handles.discard(handle)
        if below:
            self._handles.add(handle)
        return handle

    def mkdir(self, path: Any, *arguments: Any, **options: Any) -> None:
        if self._is_below(path):
            self._count()
        self._mkdir(path, *arguments, **options)

    def fsync(self, handle: int) -> None:
        self._count()
        self._fsync(handle)

    def replace(self, source: Any, target: Any, **options: Any) -> None:
        if self._is_below(target):
            self._count()
            self.replaced[Path(target)] = Path(source).read_bytes()
        self._replace(source, target, **options)


class _Raw(io.FileIO):
    """A file of the disk, below all buffers."""

    def __init__(self, disk: FaultyDisk, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk = disk

    def write(self, content: Any) -> int:
        return self._disk.write(super().write, content)
