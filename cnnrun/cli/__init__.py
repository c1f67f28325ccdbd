"""The command line: parse, call one function, print. Imports nothing heavy before it must.

stdout is data, stderr is progress and errors. Exit codes: 0 done, 2 wrong usage or config,
130 and 143 interrupted (SIGINT, SIGTERM) with the state saved, 1 the rest.

A file of this package holds commands that belong together; importing it registers them.
"""

from __future__ import annotations

import os
import sys

# In the order in which `cnnrun --help` lists them.
# isort: off
from cnnrun.cli import train, lr_find, study, sweep, compare, report, evaluate
from cnnrun.cli import predict, export, inspect, author, verify

# isort: on
from cnnrun.cli.app import app
from cnnrun.errors import UserCodeError, UserError, mistakes_of_user_code

__all__ = [
    "app",
    "author",
    "compare",
    "evaluate",
    "export",
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
    """Run the command line; errors become one message and an exit code."""
    # Idle OpenMP threads spin for milliseconds by default. Three runs side by side on two cores
    # then get 300 images/s each instead of 1,700; a run alone loses nothing that shows.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        with mistakes_of_user_code():
            app(args=arguments, prog_name="cnnrun")
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else 0)
    except UserCodeError as error:
        _fail(f"{error}\n  (in your own code: --debug shows the traceback)", 1, debug)
    except UserError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _fail("interrupted", 130, debug)
    except BrokenPipeError:
        # The reader (`| head`) has what it wants; python would complain while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError) as error:
        _fail(_in_words(error), 1, debug)
    except Exception as error:
        if debug:
            raise
        _fail(f"{_in_words(error)}\n  (a bug or a broken machine: --debug shows where)", 1, debug)


def _leave(code: int) -> None:
    """End this process, one of several of a run at once: threads of gloo may abort a plain exit."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"out of memory: {error}" if str(error) else "out of memory"
    return f"{type(error).__name__}: {error}"


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    _leave(code)
