"""A user's own components: Python files that register more names, loaded when they are asked for.

Installed packages may register some, too: the modules that their entry points `cnnrun.models`,
`cnnrun.datasets`, `cnnrun.losses` ... name are imported before any experiment is validated.

    [project.entry-points."cnnrun.models"]
    mine = "my_package.models"
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from cnnrun.errors import ConfigError
from cnnrun.runtime import console

_loaded: set[Path] = set()


def load_plugins(files: Iterable[str]) -> None:
    """Run each Python file once, so that what it registers can be named in a config.

    What installed packages register comes first.

    Raises:
        ConfigError: the file is not there or fails; the message names its line.
    """
    load_installed()
    for file in files:
        path = Path(file).resolve()
        if path in _loaded:
            continue
        if not path.is_file():
            raise ConfigError(
                f"plug-in {file}: there is no such file (paths are from {Path.cwd()}); "
                f"if it lies elsewhere, say where: --plugin PATH/{path.name}"
            )
        spec = importlib.util.spec_from_file_location(f"cnnrun_plugin_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"plug-in {file}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ConfigError(f"plug-in {_line_of(error, path)}: {error!r}") from error
        _loaded.add(path)


@cache
def load_installed() -> None:
    """Import, once, what the entry points `cnnrun.*` of installed packages name.

    One that fails is told on stderr and left out: it must not stop experiments that do without it.
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
                f"was left out: {error!r}; pip uninstall {package} ends this message",
            )


def _line_of(error: Exception, path: Path) -> str:
    """`file:line` of the plug-in's own innermost frame in `error`."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{path}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)
