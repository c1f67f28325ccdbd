"""Files that are complete at any instant: written to a temporary file, synced, renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cnnrun.errors import UserError
from cnnrun.runtime.interrupt import held
from cnnrun.runtime.strict_json import to_json

UNFINISHED = ".unfinished"
"""How the names of temporary files end."""

# Errors of `fsync` on USB sticks, network mounts and foreign file systems.
_NOT_OFFERED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}


def write_json(file: Path, values: dict[str, Any]) -> None:
    write_text(file, to_json(values, indent=2, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str, private: bool = False) -> None:
    """Write atomically, as UTF-8; see `write_atomically`."""
    write_atomically(file, lambda stream: stream.write(text.encode()), private)


def write_atomically(file: Path, write: Callable[[IO[bytes]], Any], private: bool = False) -> None:
    """Let `write` fill a temporary file, sync it to disk, then rename it to `file`.

    Readers of `file`, also after a crash at any instant, find the old content or the new.
    Devices and pipes are written to directly.

    private: readable by this user only, where the file system has users.

    Raises:
        UserError: the disk is full, say; `file` is untouched and no temporary file stays.
    """
    with explain_disk_errors(file):
        if is_device(file):
            with file.open("wb") as stream:
                write(stream)
            return
        _write_atomically(file, write, 0o600 if private else 0o666)


def is_device(file: Path) -> bool:
    """Whether it exists and must not be replaced: root could replace /dev/null."""
    return file.exists() and not file.is_file() and not file.is_dir()


def _write_atomically(file: Path, write: Callable[[IO[bytes]], Any], rights: int) -> None:
    # New files get the permissions of the umask; some file systems can't change any.
    partial = file.with_name(f".{file.name}-{secrets.token_hex(4)}{UNFINISHED}")
    with held():
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(partial, flags, rights), "wb") as stream:
                write(stream)
                stream.flush()
                force_to_disk(stream.fileno())
            partial.replace(file)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _force_folder_to_disk(file.parent)


def force_to_disk(handle: int) -> None:
    """Wait until the file's content is on disk, as far as the file system guarantees it."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise


def _force_folder_to_disk(folder: Path) -> None:
    """A rename is durable only once its folder is on disk."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return  # Windows can't open folders, nor can users who may write into one but not list it
    try:
        force_to_disk(handle)
    finally:
        os.close(handle)


@contextmanager
def explain_disk_errors(file: Path) -> Iterator[None]:
    """Say which file could not be written and why, even if torch hides the cause."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        if cause is None:
            raise
        if not file.parent.is_dir():
            removed = next(p for p in reversed(file.parents) if not p.is_dir())
            raise UserError(f"{removed}: was removed during training") from error
        raise UserError(
            f"{file}: can't be written ({cause.strerror or cause}); what was saved before is intact"
        ) from error
