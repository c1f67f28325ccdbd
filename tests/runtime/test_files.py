"""Files are whole at any instant, on file systems that offer less than a local disk."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from pathlib import Path
from typing import IO

import pytest

from cnnrun.errors import UserError
from cnnrun.plots.style import new_figure, save
from cnnrun.runtime.file_lock import lock
from cnnrun.runtime.files import write_atomically, write_text
from cnnrun.runtime.interrupt import Leave, signals_handled
from tests.conftest import Command


@pytest.mark.parametrize("refused", ["EINVAL", "ENOTSUP", "ENOSYS", "EBADF"])
def test_without_fsync_and_chmod(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, tiny: Path, refused: str
) -> None:
    """USB sticks, network mounts and mounts of other systems."""
    number = getattr(errno, refused)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("fsync", "chmod", "fchmod", "link", "symlink"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("fcntl.flock", refuse)
    ended = cnnrun("train", tiny, "-q", "training.epochs=1")
    assert ended.code == 0, ended.err
    assert ended.err == ""


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: int
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(fault, os.strerror(fault))

    (tmp_path / "x").write_text("before")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=os.strerror(fault)):
        write_text(tmp_path / "x", "after")
    assert (tmp_path / "x").read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_rights_are_those_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "x", "x")
        write_text(tmp_path / "password", "x", private=True)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "password").stat().st_mode & 0o777 == 0o600


def test_the_umask_of_the_process_is_never_touched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other threads make files meanwhile."""
    monkeypatch.setattr(os, "umask", lambda _mask: pytest.fail("umask was set"))
    write_text(tmp_path / "x", "x")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_half_file(tmp_path: Path, number: int) -> None:
    def write(stream: IO[bytes]) -> None:
        stream.write(b"first ")
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        stream.write(b"second")

    with signals_handled(), pytest.raises(Leave):
        write_atomically(tmp_path / "x", write)
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"first second"


def test_training_in_a_thread(tiny: Path, tmp_path: Path) -> None:
    import cnnrun

    found: list[object] = []
    changes = [f"output={tmp_path}", "training.epochs=1", "training.draw=false"]

    def work() -> None:
        found.append(cnnrun.train(tiny, *changes).summary["epochs"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [1]


def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "x").open("w") as first, (tmp_path / "x").open() as second:
        assert lock(first.fileno()) is True
        assert lock(second.fileno(), shared=True) is False
    monkeypatch.setattr("cnnrun.runtime.file_lock.fcntl", None)
    with (tmp_path / "x").open("w") as first:
        assert lock(first.fileno()) is None


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As root, /dev/null would be replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    handle = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "whole")
        save(new_figure(20, 20), pipe)
        assert os.read(handle, 9) == b"whole\x89PNG"
    finally:
        os.close(handle)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


def test_an_export_is_no_pipe(cnnrun: Command, tiny: Path, tmp_path: Path) -> None:
    run = cnnrun("train", tiny, "-q").out.strip()
    os.mkfifo(tmp_path / "x.onnx")
    ended = cnnrun("export", run, "-o", tmp_path / "x.onnx")
    assert ended.code == 1
    assert "not a regular file, and an export is read back" in ended.err
