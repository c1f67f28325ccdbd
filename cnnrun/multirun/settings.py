"""Changes to a base experiment, by dotted key: as in a sweep or study, and as in a shell."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cnnrun.config import renamed
from cnnrun.config.document import Change, Document, parse, read
from cnnrun.config.error_messages import explain
from cnnrun.config.shipped import find_config
from cnnrun.errors import ConfigError
from cnnrun.registry import Options
from cnnrun.runtime.paths import expanded

Spec = TypeVar("Spec", bound=Options)

Settings = dict[str, Any]
"""Dotted keys of the experiment and their values: one point of a sweep, one variant of a study."""


def changes(settings: Settings) -> list[str]:
    """`key=value` as on the command line, whole sections before keys inside them."""
    ordered = sorted(settings.items(), key=lambda item: item[0].count("."))
    return [f"{key}={to_text(value)}" for key, value in ordered]


def to_text(value: Any) -> str:
    """`value` as YAML in one line: bare words stay bare, the rest is JSON, which YAML includes."""
    if isinstance(value, str) and value.isprintable() and value == value.strip():
        try:
            if parse(value, "command line").values == value:
                return value
        except Exception:  # not YAML as it stands
            pass
    return json.dumps(value, ensure_ascii=False)


def apply(
    document: Document, settings: Settings, place: Callable[[str, Any], tuple[str, str]]
) -> None:
    """Change `document`; errors in it are reported at the places of `settings`.

    place: of a key and its value, `file:line:column` of the value and of the key.
    """
    known = set(document.key_places)
    for change in changes(settings):
        document.override(change)
        key = change.partition("=")[0]
        path = tuple(int(step) if step.isdigit() else step for step in key.split("."))
        value_place, key_place = place(key, settings[key])
        document.places[path] = Change(value_place)
        for length in range(1, len(path) + 1):
            if path[:length] not in known:
                document.key_places[path[:length]] = key_place


def read_as(
    model: type[Spec], file: Path, overrides: Iterable[str], named: Collection[str] = ()
) -> tuple[Spec, Document]:
    """The sweep or study in `file`, validated, and its document; named: see `override`.

    Raises:
        ConfigError: all problems found.
    """
    document = read(file)
    own = model.model_fields
    override(document, overrides, [*own, *renamed.former(own)], named)
    renamed.accept_keys(document, own)
    document.values.setdefault("name", file.stem)
    try:
        return model.model_validate(document.values), document
    except ValidationError as error:
        raise ConfigError(explain(document, error, model)) from None


def override(
    document: Document,
    overrides: Iterable[str],
    own: Collection[str],
    named: Collection[str] = (),
) -> None:
    """Apply `key=value` texts to a sweep or study: keys that are not its `own` go to `set`.

    named: sections with settings by name; what follows `section.name.` is a key of an experiment.
    """
    for text in overrides:
        key, equals, _ = text.partition("=")
        section, _, rest = key.partition(".")
        if not equals or (section in own and not (section in named and rest.count("."))):
            document.override(text)
            continue
        value = Document("", {})
        value.override(text)
        flat: Any = value.values
        for step in key.split("."):
            flat = flat[step]
        inside = (section, *rest.split(".", 1)) if section in named else ("set", key)
        settings = document.values
        for step in inside[:-1]:
            settings = settings.setdefault(step, {}) if isinstance(settings, dict) else None
        if not isinstance(settings, dict):
            continue  # reported by validation
        settings[inside[-1]] = flat
        for places in (document.places, document.key_places):
            places[inside] = f"command line: {' '.join(text.split())}"


def base_file(file: str, base: str) -> Path:
    """The experiment file for `base` in a sweep's or study's `file`.

    A path from that file's folder, or else the name of a config, here or shipped.

    Raises:
        ConfigError: there is no config of that name.
    """
    beside = Path(file).parent / expanded(base)
    is_name = len(Path(base).parts) == 1 and not beside.suffix and not beside.is_file()
    return find_config(Path(base)) if is_name else beside
