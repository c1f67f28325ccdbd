"""What a person sees when something is wrong: one short message, and an exit code for scripts."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Something the user can put right. The command line prints the message, never a traceback.

    Bugs in cnnrun are ordinary exceptions and asserts.
    """

    exit_code = 1


class ConfigError(UserError):
    """The experiment or the command is written wrongly; every problem found is in the message."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NetworkError(UserError):
    """Something could not be fetched: the config may be right, and another try may do."""


class Interrupted(UserError):
    """SIGINT (130), SIGTERM (143) or SIGHUP (129) ended the run after its state was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UserCodeError(UserError):
    """A user's own component is wrong, or failed; the message has the line of their file."""


@contextmanager
def mistakes_of_user_code() -> Iterator[None]:
    """Tell an exception that a user's own code caused as theirs, with the line.

    One that has nothing to do with their code passes as it is: a bug of cnnrun, or a fault of the
    machine.

    Raises:
        UserCodeError: in one sentence what failed and where.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if blamed := in_user_code(error):
            raise UserCodeError(blamed) from error
        raise


def in_user_code(error: BaseException) -> str:
    """`file:line: what failed` of the innermost frame of a user's own code, or "" without one.

    Their code is what cnnrun called (a script that calls cnnrun is not), and what lies neither in
    cnnrun nor in an installed package.
    """
    called, found = False, ""
    step = error.__traceback__
    while step:
        code = step.tb_frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            called = True
        elif called and _is_users(code.co_filename):
            where = f"in {code.co_name}: " if code.co_name.isidentifier() else ""
            found = f"{code.co_filename}:{step.tb_lineno}: {where}{_first_line(error)}"
        step = step.tb_next
    return found


_PACKAGE = str(Path(__file__).parent)
_STDLIB = str(Path(os.__file__).parent)


def _is_users(file: str) -> bool:
    if file.startswith("<"):
        return file.startswith("<ipython")
    # What torch.compile writes and runs lies in a cache.
    libraries = ("site-packages", "dist-packages", "torchinductor")
    return not file.startswith(_STDLIB) and not any(name in file for name in libraries)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest of `choices`, or nothing when none is near.

    Case, hyphens and underscores are forgiven before the distance is measured. A name that is the
    word with something left out or added (`normal` for `he_normal`) is another thing, not a slip,
    and so is one with other digits (`cifar100` for `cifar10`).
    """
    plain = {_plain(choice): choice for choice in choices}
    wanted = _plain(word)
    if wanted in plain:
        return f"; did you mean '{plain[wanted]}'?"
    near = difflib.get_close_matches(wanted, plain, n=3, cutoff=0.6 if len(wanted) < 5 else 0.75)
    for name in near:
        if digits(name) != digits(wanted):
            continue
        longer = abs(len(name) - len(wanted))
        part = (name in wanted or wanted in name) and (longer > 1 or len(wanted) < 4)
        if not part and (longer < 2 or len(wanted) >= 5 or _is_short_for(wanted, name)):
            return f"; did you mean '{plain[name]}'?"
    return ""


def did_you_mean_or_sizes(word: str, choices: Iterable[str]) -> str:
    """As `did_you_mean`; where none is near, at most eight names with other numbers alone."""
    known = list(choices)
    same = [name for name in known if re.sub(r"\d+", "0", name) == re.sub(r"\d+", "0", word)]
    return did_you_mean(word, known) or (f"; there are {', '.join(same[:8])}" if same else "")


def _is_short_for(word: str, name: str) -> bool:
    """`img` for `image`: the same first letter, and the others in their order."""
    rest = iter(name)
    return word[:1] == name[:1] and all(letter in rest for letter in word)


def digits(word: str) -> str:
    return "".join(filter(str.isdigit, word))


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
