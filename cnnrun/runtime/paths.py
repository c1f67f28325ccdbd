"""One rule for every path in a config or on the command line.

`~`, `~name`, `$NAME` and `${NAME}` are replaced where the path is used. config.yaml keeps what was
given: `$TMPDIR/data` is another folder in the next job.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from cnnrun.errors import UserError

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


def expanded(path: str | os.PathLike[str]) -> Path:
    """The expanded path; if a file of the literal name exists, `$` and all, it is that file.

    Raises:
        UserError: a variable is not set, or the user has no home.
    """
    text = os.fspath(path)
    if "$" in text and not os.path.lexists(text):
        text = os.path.expandvars(text)
        unset = _VARIABLE.search(text)
        if unset:
            name = unset[1].strip("{}")
            raise UserError(f"{os.fspath(path)}: the variable {name} is not set")
    if text.startswith("~"):
        home = os.path.expanduser(text)  # noqa: PTH111 (pathlib's raises RuntimeError)
        if home == text and not os.path.lexists(text):
            user = text.partition("/")[0][1:]
            reason = f"there is no user '{user}'" if user else f"no home is known here ({_NO_HOME})"
            raise UserError(f"{os.fspath(path)}: {reason}; write the path out")
        text = home
    return Path(text)


_NO_HOME = "HOME is not set, and the user has no entry in the system's list"


def cache_folder() -> Path:
    """The platform's cache folder; without a home, a private temporary folder.

    Raises:
        UserError: a folder of that name belongs to another user.
    """
    known = os.environ.get("XDG_CACHE_HOME")
    if sys.platform == "win32":
        known = os.environ.get("LOCALAPPDATA")
    if known:
        return Path(known) / ("cnnrun/Cache" if sys.platform == "win32" else "cnnrun")
    if not has_home():
        return _temporary() / "cnnrun"
    return expanded("~/Library/Caches" if sys.platform == "darwin" else "~/.cache") / "cnnrun"


def has_home() -> bool:
    return os.path.expanduser("~") != "~"  # noqa: PTH111


def give_libraries_a_cache() -> None:
    """Without a home, torch would create a folder called `~` for its downloads."""
    if not has_home() and "XDG_CACHE_HOME" not in os.environ:
        os.environ["XDG_CACHE_HOME"] = str(_temporary())


def _temporary() -> Path:
    """A private folder of this user, at the same place each time."""
    import tempfile  # imported here: at the top it would cost every start

    folder = Path(tempfile.gettempdir()) / f"cache-of-user-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or folder.is_symlink() or found.st_mode & 0o022:
        raise UserError(
            f"{folder}: other users can write into it; set XDG_CACHE_HOME to another folder"
        )
    return folder
