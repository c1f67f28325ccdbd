"""What a file that somebody else made may say, and what it never may: the trust boundary.

A checkpoint, a run directory, a sweep's folder and a sweep's database hold a config. It may say
what is computed: the model, the task, the sizes, the seeds, and which files are read as data. It
may never choose, of itself,

    code        plug-ins, the class behind `dataset: own`
    folders     that are written to or cleared: `output`, the spool, the cache, downloads
    addresses   that are contacted: urls of shards, data sets of a hub, a sweep's storage, loggers

Code and addresses are refused until the command line names them as well; folders are those of this
machine until it names others. A YAML file that is named on the command line is a program that its
user starts, and a run that is named by `--resume` is the user's own: neither comes by here.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cnnrun.errors import UserError
from cnnrun.registry import as_mapping

# Sections and keys that name a folder which is written to, or where else a run is written to.
_PLACES = ("output", "loggers")
_DATA_PLACES = ("spool", "cache_dir")


def trusted(
    values: dict[str, Any],
    origin: Path | str,
    plugins: Iterable[str] = (),
    overrides: Iterable[str] = (),
    opens_data: bool = True,
) -> dict[str, Any]:
    """A stranger's config without what it may not choose; `values` stay as they are.

    origin: what messages call the file. plugins, overrides: what the command line names itself.
    opens_data: whether its data set will be read.

    Raises:
        UserError: it names code or addresses that the command line does not; with the options that
            would.
    """
    named = {override.partition("=")[0] for override in overrides}
    kept = {key: value for key, value in values.items() if key not in (*_PLACES, "plugins")}
    code = [] if "plugins" in named else _missing_plugins(values.get("plugins"), plugins)
    addresses: list[str] = []
    dataset = as_mapping(values.get("dataset"))
    if isinstance(dataset, dict):
        kept["dataset"] = _at_home(dataset)
        if opens_data and "dataset" not in named:
            if dataset.get("name") == "own" and "dataset.target" not in named:
                code.append(_option("dataset.target", dataset.get("target")))
            addresses = [
                _option(f"dataset.{key}", value)
                for key, value in dataset.items()
                if f"dataset.{key}" not in named and _is_address(dataset.get("name"), key, value)
            ]
    if code:
        raise UserError(
            f"{origin} was trained with code of its own; if you trust it, say so: "
            f"{' '.join(code + addresses)}"
        )
    if addresses:
        raise UserError(
            f"{origin} names addresses to contact; if you trust it, say so: {' '.join(addresses)}"
        )
    return kept


def consent(values: dict[str, Any]) -> list[str]:
    """Overrides that name all that `values`, a config of one's own, say of folders and addresses.

    For runs that were made from it; plug-ins are given apart.
    """
    dataset = as_mapping(values.get("dataset")) or {}
    return [
        f"dataset.{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in dataset.items()
        if key in (*_DATA_PLACES, "download", "target")
        or _is_address(dataset.get("name"), key, value)
    ]


def require_named(origin: Path | str, what: str, option: str) -> None:
    """Refuse what a file says of itself, with the option by which the command line says it.

    Raises:
        UserError: always.
    """
    raise UserError(f"{origin} names {what}; if you trust it, say so: {option}")


def _missing_plugins(stored: Any, given: Iterable[str]) -> list[str]:
    """Options for the plug-ins that `given` lacks: by name, as folders differ between machines."""
    names = [str(file) for file in stored] if isinstance(stored, list) else []
    spare = Counter(Path(file).name for file in given)
    missing = []
    for name in names:
        if spare[Path(name).name]:
            spare[Path(name).name] -= 1
        else:
            missing.append(f"--plugin {shlex.quote(name)}")
    return missing


def _at_home(dataset: dict[str, Any]) -> dict[str, Any]:
    """The section with this machine's own folders, where nothing is fetched."""
    kept = {key: value for key, value in dataset.items() if key not in _DATA_PLACES}
    return kept | ({"download": False} if "download" in kept else {})


def _is_address(name: Any, key: str, value: Any) -> bool:
    if name == "huggingface" and key == "path":
        return not Path(str(value)).exists()
    return any("://" in text for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _option(key: str, value: Any) -> str:
    """What a shell passes as this override."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shlex.quote(f"{key}={text}")
