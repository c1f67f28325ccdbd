"""All that cnnrun prints: results on stdout, everything else on stderr.

Progress is no reason to lose a run: where stderr is closed, full or gone, nothing more is printed
and work continues. A result that can't be written is an error, unless the reader has closed the
pipe.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

from cnnrun.runtime.printable import printable_text
from cnnrun.runtime.text_table import fitted

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
# What `stage` shows on the terminal's last line.
_stage = ""
# Where results go while `sys.stdout` is redirected.
_results: TextIO | None = None


@contextmanager
def quiet_if(quiet: bool) -> Iterator[None]:
    """Within the block, `note` prints nothing if `quiet`."""
    token = _quiet.set(quiet or _quiet.get())
    try:
        yield
    finally:
        _quiet.reset(token)


def note(text: str) -> None:
    """Progress; nothing with `--quiet`."""
    if not _quiet.get():
        warn(text)


def warn(text: str) -> None:
    """A warning, also with `--quiet`."""
    stage("")
    shown = printable_text(text)
    stderr.write(f"{fitted(shown, width()) if stderr.isatty() else shown}\n")
    stderr.flush()


def out(text: object, end: str = "\n", fit: bool = False) -> None:
    """Write a result to stdout. A reader that has closed the pipe (`| head`) has enough.

    fit: it is for people: a terminal gets lines that fit it.

    Raises:
        OSError: it can't be written there.
    """
    stage("")
    stream, shown = _stdout(), printable_text(f"{text}{end}")
    if fit and stream.isatty():
        shown = fitted(shown, width(stream))
    try:
        try:
            stream.write(shown)
        except UnicodeEncodeError:
            stream.write(_encodable(shown, stream))
    except BrokenPipeError:
        discard(stream)


class _Results:
    """A file object, as `csv` needs one, that writes to `out`."""

    def write(self, text: str, /) -> None:
        out(text, end="")


results = _Results()


def _stdout() -> TextIO:
    return _results or sys.stdout or io.StringIO()


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Within the block, what libraries and plug-ins print goes to stderr.

    torch announces each download on stdout, and `RUN=$(cnnrun train -q ...)` is to get only the
    run.
    """
    global _results
    before, _results = _results, _stdout()
    try:
        with contextlib.redirect_stdout(stderr):
            yield
    finally:
        _results = before


class Guarded(io.TextIOBase):
    """`stream`, or the current `sys.stderr`; writing to it never fails."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._given = stream

    @property
    def _stream(self) -> TextIO | None:
        return self._given or sys.stderr

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        stream = self._stream
        try:
            return stream is not None and stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        stream = self._stream
        if stream is None:
            raise OSError("closed")
        return stream.fileno()

    def write(self, text: str, /) -> int:
        stream = self._stream
        if stream is not None:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                self.write(_encodable(text, stream))
            except RuntimeError:
                # Reentrant: from a signal handler, while the same stream was being written.
                with contextlib.suppress(OSError, ValueError):
                    os.write(stream.fileno(), text.encode(errors="backslashreplace"))
            except (OSError, ValueError):
                discard(stream)
        return len(text)

    def flush(self) -> None:
        stream = self._stream
        try:
            if stream is not None:
                stream.flush()
        except RuntimeError:
            pass  # see `write`
        except (OSError, ValueError):
            discard(stream)


stderr = Guarded()


def discard(stream: TextIO | None) -> None:
    """Discard what is written to a broken stream, also what it has buffered.

    Python flushes its streams at exit, and exits with 120 where that fails.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        assert stream is not None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _encodable(text: str, stream: TextIO) -> str:
    """`text` with what the stream's encoding lacks written as `\\u732b`."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def open_closed_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr (`2>&-`) empty ones.

    Otherwise the next opened file gets descriptor 2, and libraries that write to stderr write into
    a checkpoint.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def stage(text: str) -> None:
    """On a terminal, show the current work until something else is printed; "" clears it."""
    global _stage
    if _stage:
        stderr.write("\r\x1b[K")
    shown = bool(text) and not _quiet.get() and stderr.isatty()
    _stage = text if shown and os.environ.get("TERM") != "dumb" else ""
    if _stage:
        stderr.write(f"{_stage} ...\r")
    stderr.flush()


def rich_console() -> Console:
    """rich's console on stderr; its `Progress` wraps `sys.stderr`, to print above itself."""
    from rich.console import Console

    file = cast("IO[str]", Guarded(sys.stderr))
    return Console(file=file, width=width() if os.environ.get("COLUMNS") else None)


def room() -> int | None:
    """The columns that results may take: those of the terminal on stdout, if it is one."""
    return width(_stdout()) if _stdout().isatty() else None


def width(stream: TextIO | Guarded = stderr) -> int:
    """The columns of the terminal on a stream; 80 where there is none. COLUMNS overrides both."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return max(1, int(os.environ["COLUMNS"]))
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
