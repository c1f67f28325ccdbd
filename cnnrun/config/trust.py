"""What an untrusted file may set and what it may not: the trust boundary.

A checkpoint, a run directory, a sweep's folder and a sweep's database hold a config. It may say
what is computed: the model, the task, the sizes, the seeds, and which files are read as data. It
may never decide on its own:

    code        plug-ins, the class behind `dataset: own`
    folders     that are written to or cleared: `output`, the spool, the cache, downloads
    addresses   that are contacted: urls of shards, data sets of a hub, a sweep's storage, loggers

`trusted` is for what is opened (`eval`, `viz`, `report` ...): code and addresses are refused unless
the command line names them as well; folders are those of this machine unless it names others.
`require_consent` is for what is trained on another's behalf (`sweep --join`): all three are refused
unless the command line names the same. A YAML file on the command line is a program that its user
starts, and a run given to `--resume` is the user's own: neither is checked here.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cnnrun import registry
from cnnrun.config.document import parse
from cnnrun.errors import ConfigError, UserError

_PLACES = ("output", "loggers", "plugins")
_DATA_FOLDERS = ("spool", "cache_dir")
# The folder that a source downloads to.
_DOWNLOADED_TO = "root"


def trusted(
    values: dict[str, Any],
    origin: Path | str,
    plugins: Iterable[str] = (),
    overrides: Iterable[str] = (),
    opens_data: bool = True,
) -> dict[str, Any]:
    """An untrusted config without what it may not choose; `values` are not changed.

    origin: the file's name in messages. plugins, overrides: from the command line.
    opens_data: whether its data set is going to be read.

    Raises:
        UserError: it names code or addresses that the command line does not; with the options that
            would.
    """
    named = {override.partition("=")[0] for override in overrides}
    code = [] if "plugins" in named else _missing_plugins(values.get("plugins"), plugins)
    addresses: dict[str, Any] = {}
    kept = {key: value for key, value in values.items() if key not in _PLACES}
    dataset = _dataset_of(values)
    if dataset:
        kept["dataset"] = _with_local_folders(dataset)
    if opens_data and "dataset" not in named:
        if dataset.get("name") == "own" and "dataset.target" not in named:
            code.append(_option("dataset.target", dataset.get("target")))
        addresses = {key: v for key, v in _addresses(dataset).items() if key not in named}
    if code:
        refuse(origin, "was trained with code of its own", *code, *_options(addresses))
    if addresses:
        refuse(origin, "names addresses to contact", *_options(addresses))
    return kept


def require_consent(
    values: dict[str, Any],
    origin: Path | str,
    plugins: Iterable[str] = (),
    overrides: Iterable[str] = (),
) -> None:
    """Refuse to train an untrusted config that names more than the command line does.

    Raises:
        UserError: it names code, folders to write to or addresses that are not defaults; with the
            options that allow them.
    """
    wanted = consent(values)
    if values.get("loggers"):
        wanted["loggers"] = values["loggers"]
    for override in overrides:
        key, _, text = override.partition("=")
        if key in wanted and parse(text, "command line").values == wanted[key]:
            del wanted[key]
    options = [*_missing_plugins(values.get("plugins"), plugins), *_options(wanted)]
    if options:
        refuse(origin, "names code, folders to write to or addresses", *options)


def consent(values: dict[str, Any]) -> dict[str, Any]:
    """Code, folders and addresses in the data set of `values`, a config, by dotted key.

    Defaults are left out.
    """
    dataset = _dataset_of(values)
    keys = list(_DATA_FOLDERS)
    if dataset.get("name") == "own":
        keys.append("target")
    if dataset.get("download") is not False and "download" in _parameters(dataset):
        keys.append(_DOWNLOADED_TO)
    defaults = _parameters(dataset)
    found = {
        f"dataset.{key}": dataset[key]
        for key in keys
        if dataset.get(key) is not None and dataset[key] != defaults.get(key)
    }
    return found | _addresses(dataset)


def consenting(values: dict[str, Any]) -> list[str]:
    """Overrides that name what the user's own config `values` says: for runs made from it."""
    return [f"{key}={json.dumps(value)}" for key, value in consent(values).items()]


def refuse(origin: Path | str, does: str, *options: str) -> None:
    """Say what a file names on its own, and the options that allow it.

    Raises:
        UserError: always.
    """
    raise UserError(f"{origin} {does}; if you trust it, pass {' '.join(options)}")


def _missing_plugins(stored: Any, given: Iterable[str]) -> list[str]:
    """Options for the plug-ins missing in `given`: by name, as folders differ by machine."""
    names = [str(file) for file in stored] if isinstance(stored, list) else []
    spare = Counter(Path(file).name for file in given)
    missing = []
    for name in names:
        if spare[Path(name).name]:
            spare[Path(name).name] -= 1
        else:
            missing.append(f"--plugin {shlex.quote(name)}")
    return missing


def _dataset_of(values: dict[str, Any]) -> dict[str, Any]:
    dataset = registry.as_mapping(values.get("dataset"))
    return dataset if isinstance(dataset, dict) else {}


def _with_local_folders(dataset: dict[str, Any]) -> dict[str, Any]:
    """The section with this machine's folders and without downloads."""
    kept = {key: value for key, value in dataset.items() if key not in _DATA_FOLDERS}
    return kept | ({"download": False} if "download" in _parameters(dataset) else {})


def _parameters(dataset: dict[str, Any]) -> dict[str, Any]:
    """The keys of the source that is named, and their defaults; {} for one of a plug-in."""
    try:
        entry = registry.datasets.get(str(dataset.get("name")))
    except UserError:
        return {}
    return {name: entry.signature.parameters[name].default for name in entry.parameters}


def _addresses(dataset: dict[str, Any]) -> dict[str, Any]:
    """Addresses that the section would contact, by dotted key."""
    found = {f"dataset.{k}": v for k, v in dataset.items() if any("://" in t for t in _texts(v))}
    hub = dataset.get("path")
    if dataset.get("name") == "huggingface" and not Path(str(hub)).exists():
        found["dataset.path"] = hub
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _options(named: dict[str, Any]) -> list[str]:
    return [_option(key, value) for key, value in named.items()]


def _option(key: str, value: Any) -> str:
    """The override, quoted for a shell."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        if isinstance(value, str) and parse(value, "command line").values == value:
            text = value
    except ConfigError:
        pass
    return shlex.quote(f"{key}={text}")
