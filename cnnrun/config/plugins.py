"""The user's own components: Python files that register more names, loaded on request.

Installed packages may register components, too: the modules that their entry points
`cnnrun.models`, `cnnrun.datasets`, `cnnrun.losses` ... name are imported before any experiment is
validated.

    [project.entry-points."cnnrun.models"]
    mine = "my_package.models"
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from cnnrun.errors import ConfigError
from cnnrun.registry import KINDS
from cnnrun.runtime import console
from cnnrun.runtime.paths import expanded

_loaded: dict[Path, bytes] = {}
"""The content of each file when it was run."""


def load_plugins(files: Iterable[str]) -> None:
    """Run each Python file, so that what it registers can be named in a config.

    A file is run again only after it was edited, as happens with a notebook open; what it had
    registered is dropped. What installed packages register comes first.

    Raises:
        ConfigError: the file is missing or fails; the message names its line.
    """
    load_installed()
    for file in files:
        path = expanded(file).resolve()
        if not path.is_file():
            raise ConfigError(
                f"plug-in {file}: there is no such file (paths are from {Path.cwd()})"
            )
        if path.suffix != ".py":
            raise ConfigError(f"plug-in {file}: not a Python file")
        content = path.read_bytes()
        if _loaded.get(path) != content:
            _run(path, content)
            _loaded[path] = content


def _run(path: Path, content: bytes) -> None:
    """Run a file as a module. Python's own import could miss an edit:

    it compares sizes and times in whole seconds.
    """
    _loaded.pop(path, None)
    linecache.checkcache(str(path))
    for registry in KINDS.values():
        registry.forget(str(path))
    module = ModuleType(f"cnnrun_plugin_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(decode_source(content), str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        message = f"{_line_of(error, path)}: {type(error).__name__}: {error}"
        raise ConfigError(f"plug-in {message}") from error


@cache
def load_installed() -> None:
    """Import, once, the modules in the entry points `cnnrun.*` of installed packages.

    One that fails is reported on stderr and left out: it must not stop experiments that don't need
    it.
    """
    installed = metadata.entry_points()
    groups = [group for group in sorted(installed.groups) if group.startswith("cnnrun.")]
    for entry in (entry for group in groups for entry in installed.select(group=group)):
        try:
            entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist else "an unknown package"
            console.warn(
                f"the plug-in '{entry.name}' ({entry.value}) of the installed package {package} "
                f"was left out: {error!r}; pip uninstall {package} stops this message",
            )


def _line_of(error: BaseException, path: Path) -> str:
    """`file:line` of the plug-in's own innermost frame in `error`."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{path}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)
