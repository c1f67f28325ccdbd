"""The command line: parse, call one function, print. Heavy modules are imported late.

stdout is data, stderr is progress and errors. Exit codes: 0 done, 2 wrong usage or config,
130, 143 and 129 interrupted (SIGINT, SIGTERM, SIGHUP) with the state saved, 1 the rest.

A file of this package holds commands that belong together; importing it registers them.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import NoReturn

from cnnrun.runtime.interrupt import Leave, left_by, signals_handled, silent_interrupts

with silent_interrupts():
    # In the order in which `cnnrun --help` lists them.
    # isort: off
    from cnnrun.cli import train, lr_find, study, sweep, crossval, compare, report, evaluate
    from cnnrun.cli import predict, import_network, export, inspect, author, verify

    # isort: on
from cnnrun.cli.app import app
from cnnrun.errors import Interrupted, UserCodeError, UserError, mistakes_of_user_code
from cnnrun.runtime import console
from cnnrun.runtime.launched import met
from cnnrun.runtime.paths import give_libraries_a_cache
from cnnrun.runtime.text_table import within

__all__ = [
    "app",
    "author",
    "compare",
    "crossval",
    "evaluate",
    "export",
    "import_network",
    "inspect",
    "lr_find",
    "main",
    "predict",
    "report",
    "study",
    "sweep",
    "train",
    "verify",
]


def main() -> None:
    """Run the command line and end the process; errors become one message and an exit code."""
    with silent_interrupts():
        _leave(_main())


def _main() -> int:
    """Run the command line; the exit code."""
    console.open_closed_streams()
    give_libraries_a_cache()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # any script in any locale
    # Idle OpenMP threads spin for milliseconds by default. Three runs side by side on two cores
    # then get 300 images/s each instead of 1,700; a single run is not measurably slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        with signals_handled(), within(console.room()):
            code = _run(arguments)
            sys.stdout.flush()
    except UserCodeError as error:
        hint = "\n  (in your own code: --debug shows the traceback)"
        code = _failed(error, f"{error}{hint}", error.exit_code, debug)
    except UserError as error:
        code = _failed(error, str(error), error.exit_code, debug)
    except Leave as leave:
        code = _report("interrupted", leave.exit_code, debug)
    except KeyboardInterrupt:
        code = _report("interrupted", 130, debug)
    except BrokenPipeError:
        console.discard(sys.stdout)  # the reader (`| head`) has enough
        code = 0
    except (OSError, MemoryError) as error:
        code = _failed(error, _to_text(error), 1, debug)
        _discard_what_fails()
    except Exception as error:
        if debug and left_by() is None:
            raise
        hint = "\n  (a bug or a broken machine: --debug shows where)"
        code = _failed(error, f"{_to_text(error)}{hint}", 1, debug)
    return code


def _run(arguments: list[str]) -> int:
    """Run the command; returns its exit code unless an exception ends it."""
    try:
        with mistakes_of_user_code():
            app(args=arguments, prog_name="cnnrun")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
        # Typer turns any signal while it parses the command line into a silent exit with 130.
        if code == 130 and (left := left_by()) is not None:
            return _report("interrupted", left, debug=False)
        return code
    return 0


def _leave(code: int) -> NoReturn:
    """End this process, one of several of a run at once: threads of gloo may abort a plain exit."""
    if met:
        sys.stdout.flush()
        console.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _discard_what_fails() -> None:
    """A full disk under stdout is already reported; Python would complain again at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        console.discard(sys.stdout)


def _to_text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"out of memory: {error}" if str(error) else "out of memory"
    return f"{type(error).__name__}: {error}"


def _failed(error: Exception, message: str, code: int, debug: bool) -> int:
    """`_report`, unless a library turned a signal's exception into this one."""
    left = None if isinstance(error, Interrupted) else left_by()
    return _report(message, code, debug) if left is None else _report("interrupted", left, debug)


def _report(message: str, code: int, debug: bool) -> int:
    """Print the message on stderr; returns `code`."""
    if debug:
        import traceback

        console.warn(traceback.format_exc().rstrip())
    console.warn(f"error: {message}")
    return code
