"""Names that cnnrun has changed: former ones are accepted, and the present one is reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cnnrun.runtime import console

if TYPE_CHECKING:
    from cnnrun.config.document import Document, KeyPath

# Keyed by the dotted key of the value.
_COMPONENTS = {
    "dataset.name": {"picture": "image"},
    "model.name": {"picture": "image"},
}
# Keys of sweeps and studies.
_KEYS = {"pictures": "plots", "measure": "metric"}
_said: set[tuple[str, str]] = set()


def present(key: str, value: Any) -> Any:
    """The value of a dotted `key`, by its present name."""
    known = _COMPONENTS.get(key)
    return known.get(value, value) if known and isinstance(value, str) else value


def former(keys: Iterable[str]) -> list[str]:
    """The former names of `keys` of a sweep or study."""
    return [old for old, new in _KEYS.items() if new in keys]


def accept_keys(document: Document, keys: Iterable[str]) -> None:
    """Replace former names of a sweep's or study's `keys` by the present ones."""
    for old in former(keys):
        if old in document.values and _KEYS[old] not in document.values:
            say(document, (old,), old, _KEYS[old])
            document.put((_KEYS[old],), document.values.pop(old), document.place((old,)))


def say(document: Document, path: KeyPath, old: str, new: str) -> None:
    """Warn about a former name, once per file; not in a checkpoint, where it can't be changed."""
    if path in document.places and (document.file, old) not in _said:
        _said.add((document.file, old))
        place = document.place(path)
        console.warn(f"{place}: '{old}' is called '{new}' now; both are understood")
