"""Files that are whole at any instant: written beside, forced to disk, renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cnnrun.errors import UserError
from cnnrun.runtime.strict_json import to_json

UNFINISHED = ".unfinished"
"""How the names of temporary files end."""


def write_json(file: Path, values: dict[str, Any]) -> None:
    write_text(file, to_json(values, indent=2, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write atomically, as UTF-8; see `write_atomically`."""
    write_atomically(file, lambda stream: stream.write(text.encode()))


def write_atomically(file: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file, force it to disk, then rename it to `file`.

    Whoever reads `file`, also after a crash at any instant, finds the old content or the new one.

    Raises:
        UserError: the disk is full, say; `file` is untouched and no temporary file stays.
    """
    with disk_errors_told(file):
        _write_atomically(file, write)


def _write_atomically(file: Path, write: Callable[[IO[bytes]], Any]) -> None:
    handle, name = tempfile.mkstemp(UNFINISHED, f".{file.name}-", file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; a result may be read by whom the user's umask allows.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # noqa: PTH101
        os.replace(name, file)  # noqa: PTH105
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    # The rename itself is durable only once the directory is on disk.
    if hasattr(os, "O_DIRECTORY"):
        directory = os.open(file.parent, os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def disk_errors_told(file: Path) -> Iterator[None]:
    """Say which file could not be written and why, be the cause under an error of torch's."""
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
            raise UserError(f"{removed}: was removed while the run went on") from error
        raise UserError(
            f"{file}: can't be written ({cause.strerror or cause}); what was saved before is whole"
        ) from error
