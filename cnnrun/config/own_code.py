"""The user's own code that an experiment runs, identified by its content."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cnnrun import registry
from cnnrun.config.component_names import named_components
from cnnrun.runtime.reading import TEXT_BYTES, UnusableFileError, read_bytes

MISSING = "missing"
"""Stands for the content of a missing file."""


def code_of(values: Mapping[str, Any]) -> dict[str, str]:
    """A short hash of each code file that is not part of cnnrun, by the file's name.

    These are the plug-ins, the modules next to them that they import, the class of an `own` data
    set, and the files in which components of installed packages are written.

    values: a complete experiment.
    """
    named = values.get("plugins")
    files = [Path(str(file)) for file in (named if isinstance(named, list) else [])]
    files += _own_data_set(values)
    files += [f for _, kind, name in named_components(values) for f in _foreign_file(kind, name)]
    known: dict[str, str] = {}
    all_files = (path for file in files for path in _with_neighbours(file.resolve()))
    for file in dict.fromkeys(all_files):
        found = _digest(file)
        # Files of the same name in different folders share an entry.
        known[file.name] = _short(known[file.name] + found) if file.name in known else found
    return known


def changed(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """How code differs from what was recorded, as text; nothing if that is unknown (None)."""
    if before is None:
        return []
    return [
        f"{name} {'is new' if name not in before else 'is gone' if name not in now else 'changed'}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def _own_data_set(values: Mapping[str, Any]) -> list[Path]:
    dataset = registry.as_mapping(values.get("dataset"))
    if not isinstance(dataset, dict) or dataset.get("name") != "own":
        return []
    place = str(dataset.get("target", "")).rpartition(":")[0]
    if place.endswith(".py"):
        return [Path(place)]
    try:
        found = importlib.util.find_spec(place) if place else None
    except (ImportError, ValueError):
        return []
    return [Path(found.origin)] if found and found.origin else []


def _foreign_file(kind: registry.Registry, name: str) -> list[Path]:
    try:
        module = inspect.getmodule(kind.get(name).factory)
    except Exception:  # an unknown name
        return []
    if module is None or module.__name__.startswith(("cnnrun.", "cnnrun_")):
        return []  # ours, or a plug-in's, listed under `plugins`
    file = getattr(module, "__file__", None)  # cells of a notebook have none
    return [Path(file)] if file else []


def _with_neighbours(file: Path) -> list[Path]:
    """`file` and the Python files of its folder that it imports, recursively."""
    found, waiting = [], [file]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        if "site-packages" in path.parts:
            continue  # its neighbours are all installed packages
        for name in _imported(path):
            beside = path.parent.joinpath(*name.split("."))
            files = (beside.with_suffix(".py"), beside / "__init__.py")
            waiting += [one for one in files if one.is_file()]
    return found


def _imported(file: Path) -> list[str]:
    try:
        tree = ast.parse(read_bytes(file, TEXT_BYTES))
    except (OSError, UnusableFileError, ValueError, SyntaxError, RecursionError):
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names += [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
    return [name for name in names if name]


def _digest(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return MISSING
    return _digest_of(file, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=256)
def _digest_of(file: Path, *_state: int) -> str:
    """Cached by the file's path, size and time."""
    try:
        return _short(read_bytes(file, TEXT_BYTES))
    except (OSError, UnusableFileError):
        return MISSING


def _short(content: bytes | str) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:12]
