"""Untrusted files, read within bounds; the bounds are all here.

Whatever is larger is refused by name. The bounds are far above real files: they keep a hostile or
damaged file from using up memory or time before it is refused.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from cnnrun.errors import UserError

CONFIG_BYTES = 1_000_000
"""Of an experiment, a sweep, a study: pages of text."""
CONFIG_VALUES, CONFIG_DEPTH = 20_000, 40
"""Values in a config, aliases counted at each use, and their nesting depth."""
TEXT_BYTES = 64 * 2**20
"""Of a log, a summary, what a study found."""
IMAGE_BYTES = 2 * 2**30
"""Of one image file."""
MOST_CLASSES = 100_000
"""No model has so many outputs; a larger label is a mistake."""
MOST_SHARDS = 1_000_000
"""Names that a pattern with braces may expand to."""
SHARD_BYTES = 2**44
"""Of one shard."""
TABLE_BYTES = 2**33
"""Of a CSV file."""
NAME_LETTERS = 1024
"""Of a file or a sample."""

_DIGITS = 25
# What may be appended to a log between checking its size and reading it.
_GROWTH = 2**16


class UnusableFileError(UserError):
    """Not a regular file, or larger than any legitimate one."""


def open_regular(path: str | Path, most: int) -> BinaryIO:
    """Open a regular file for reading: no pipe, device or socket, which may never end.

    Raises:
        UnusableFileError: it is not one, or has over `most` bytes; the message leaves out its name.
        OSError: it can't be opened.
    """
    handle, _ = _open_regular(path, most)
    return os.fdopen(handle, "rb")


def read_bytes(path: str | Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        UnusableFileError, OSError: as `open_regular`.
    """
    # Four system calls; a file object makes nine, each of which releases the GIL.
    handle, size = _open_regular(path, most)
    try:
        # `read(most)` would take `most` bytes of memory, whatever there is to read.
        left = min(most, size + _GROWTH)
        content = os.read(handle, left)
        if len(content) >= size > 0:
            return content
        # An empty file, or a system that reads less at once (Linux, 2 GB).
        pieces = [content]
        while pieces[-1] and (left := left - len(pieces[-1])):
            pieces.append(os.read(handle, left))
        return b"".join(pieces)
    finally:
        os.close(handle)


def _open_regular(path: str | Path, most: int) -> tuple[int, int]:
    """A descriptor of a regular file, and its size; raises as `open_regular`."""
    # Non-blocking: opening a pipe would wait for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        state = os.fstat(handle)
        if stat.S_ISDIR(state.st_mode):
            raise UnusableFileError("a folder, not a file")
        if not stat.S_ISREG(state.st_mode):
            raise UnusableFileError("not a regular file (a pipe, device or socket)")
        if state.st_size > most:
            raise UnusableFileError(f"{state.st_size:,} bytes; the most is {most:,}")
    except BaseException:
        os.close(handle)
        raise
    return handle, state.st_size


def read_text(path: Path, most: int = TEXT_BYTES) -> str:
    """The UTF-8 text of a regular file.

    Raises:
        UserError: not readable, too large, or not text; with the file's name.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnusableFileError as error:
        raise UnusableFileError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text, with numbers in the range of float64 and int64.

    Raises:
        ValueError: not JSON, nested too deeply, or with a number out of range.
    """
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: as `read_text`, or not JSON; with the file's name.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:_DIGITS]} is beyond all range")
    return value


# Shared: a log has thousands of texts, and `json.loads` would make a decoder for each.
_decoder = json.JSONDecoder(parse_int=_whole, parse_float=_real)
