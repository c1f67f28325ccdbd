"""A disk that fails at the n-th operation: no good checkpoint is lost, one message says why."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import pytest

from cnnrun import config, run, runner
from cnnrun.checkpoint import Checkpoint
from tests.chaos.runs import assert_same_end
from tests.conftest import Command, Result

CONFIG = """\
dataset: {name: digits, limit: 40, batch_size: 20, validation: 10}
model: {name: mlp, hidden: [4]}
optimizer: {name: sgd, momentum: 0.9}
device: cpu
training: {epochs: 2, checkpoint_every: 1 steps}
"""


class FailingDisk:
    """The `os` module as `run` uses it; operation `fails_at` (from 1) breaks off with `error`.

    A write that fails has written half of its bytes, as on a disk that is full just there.
    """

    def __init__(self, fails_at: int = 0, error: int = errno.ENOSPC) -> None:
        self.operations, self.fails_at, self.error = 0, fails_at, error
        self.replaced: dict[Path, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _count(self) -> None:
        self.operations += 1
        if self.operations == self.fails_at:
            raise OSError(self.error, os.strerror(self.error))

    def fsync(self, handle: int) -> None:
        self._count()
        os.fsync(handle)

    def replace(self, source: str, target: Path) -> None:
        self._count()
        self.replaced[target] = Path(source).read_bytes()
        os.replace(source, target)  # noqa: PTH105

    def fdopen(self, handle: int, mode: str) -> IO[bytes]:
        stream = os.fdopen(handle, mode)
        stream_write = stream.write

        def write(content: Any) -> int:
            try:
                self._count()
            except OSError:
                stream_write(bytes(content)[: len(content) // 2])
                raise
            return stream_write(content)

        return _Stream(stream, write)  # type: ignore[return-value]


class _Stream:
    """A file whose `write` is another."""

    def __init__(self, stream: IO[bytes], write: Callable[[Any], int]) -> None:
        self._stream, self.write = stream, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@dataclass
class Disk:
    """Trains and goes on in this process, on disks that fail."""

    cnnrun: Command
    monkeypatch: pytest.MonkeyPatch
    output: Path

    def train(self, disk: FailingDisk, *arguments: object) -> tuple[Result, Path]:
        """How `cnnrun train` ended on that disk, and its run directory."""
        self.monkeypatch.setattr(run, "os", disk)
        ended = self.cnnrun("train", "-q", *arguments)
        (directory,) = self.output.glob("*/x/*")
        return ended, directory

    def check(self, operation: int, error: int, whole: Path) -> None:
        """The promises, for one operation that fails."""
        disk = FailingDisk(operation, error)
        ended, directory = self.train(disk, "x.yaml", "output=failed")
        self._check_message(ended, error)
        for file, content in disk.replaced.items():
            if file.suffix == ".pt":
                assert file.read_bytes() == content, f"operation {operation}: {file}"
        for file in (directory / "checkpoints").iterdir():
            assert file.suffix == ".pt", f"operation {operation}: {file} is left"
            Checkpoint.load(file)
        ended, _ = self.train(FailingDisk(), "--resume", directory)
        if (directory / "config.yaml").is_file():
            assert ended.code == 0, ended.err
            assert_same_end(directory, whole)
        else:  # it never began
            assert "not a run directory (no config.yaml in it)" in ended.err
        shutil.rmtree(self.output / "failed")

    def _check_message(self, ended: Result, error: int) -> None:
        assert ended.code == 1, ended.err
        assert ended.err.count("\n") == 1, ended.err
        assert f"can't be written ({os.strerror(error)}); what was saved" in ended.err


@pytest.fixture
def disk(cnnrun: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    (tmp_path / "x.yaml").write_text(CONFIG)
    # A hundred runs in seconds: the schema is always the same, and pictures are not the point.
    monkeypatch.setattr(config, "experiment_model", cache(config.experiment_model))
    monkeypatch.setattr(runner, "draw_pictures", lambda *_: None)
    return Disk(cnnrun, monkeypatch, tmp_path)


def _whole(disk: Disk) -> tuple[Path, int]:
    """A run on a good disk, moved out of the way, and its file operations."""
    good = FailingDisk()
    ended, directory = disk.train(good, "x.yaml", "output=whole")
    assert ended.code == 0, ended.err
    assert good.operations > 300
    return directory.rename(disk.output / "good"), good.operations


def test_a_failing_disk_costs_no_good_checkpoint(disk: Disk) -> None:
    whole, operations = _whole(disk)
    last = range(operations - 8, operations + 1)
    for operation in [1, 2, 3, *range(4, operations - 8, 23), *last]:
        disk.check(operation, [errno.ENOSPC, errno.EIO][operation % 2], whole)


@pytest.mark.slow
def test_a_disk_that_fails_at_any_operation(disk: Disk) -> None:
    whole, operations = _whole(disk)
    for operation in range(1, operations + 1):
        for error in (errno.ENOSPC, errno.EIO):
            disk.check(operation, error, whole)
    print(f"{2 * operations} failures")
