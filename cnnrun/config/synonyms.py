"""What is the very same thing by another tool's name is accepted: the config is put right.

The table `words.txt` says what is the same. Only what was refused is looked up, so a config in
cnnrun's own words costs nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cnnrun import registry
from cnnrun.config import renamed
from cnnrun.config.document import Document, KeyPath, dotted_path
from cnnrun.config.places import keys_at, path_in, sections_with, where_of, words_in
from cnnrun.config.words import Word, lookup, lookup_key, spelled_alike
from cnnrun.errors import ConfigError

_COMPONENTS = ("task", "dataset", "model", "initializer", "loss", "optimizer", "schedule")
# Lists of components of which one alone may be given.
_LISTS = (("loggers",), ("dataset", "augment"))


def accept_names(document: Document) -> None:
    """`type: adam` is `name: adam`, before a section without a name gets its default one.

    And the words of keys whose values only the built experiment can refuse.
    """
    paths: list[KeyPath] = [(section,) for section in _COMPONENTS]
    for listed in _LISTS:
        found = document.at(listed)
        paths += [(*listed, i) for i in range(len(found) if isinstance(found, list) else 0)]
    for path in paths:
        given = document.at(path)
        if isinstance(given, dict) and "name" not in given:
            naming = [key for key in given if lookup("name", key)]
            if len(naming) == 1:
                move(document, (*path, naming[0]), (*path, "name"))
    model = registry.as_mapping(document.values.get("model"))
    name = model.get("name") if isinstance(model, dict) else None
    named = name in registry.models.names() and registry.models.get(str(name)).is_users
    free: list[KeyPath] = [("training", "monitor"), *([] if named else [("transfer", "freeze")])]
    for path in free:
        value = document.at(path)
        if value is not None:
            _replace(document, path, lookup(f"{where_of(path)}=", as_text(value)))


def accept(
    document: Document, values: dict[str, Any], error: ValidationError, model: type[BaseModel]
) -> bool:
    """Put right what `error` refuses in `document` for a name alone; whether there was any.

    values: the document's, completed by defaults; pydantic's places are in these.

    Raises:
        ConfigError: the same was said twice, in two words.
    """
    changed = False
    for detail in error.errors(include_url=False):
        path = path_in(values, detail["loc"], detail["type"])
        if document.at(path) is None:
            continue  # it was put right with another finding about the same value
        if detail["type"] == "extra_forbidden":
            changed |= _accept_key(document, values, path, model)
        else:
            changed |= _accept_value(document, path, detail)
    return changed


def _accept_key(
    document: Document, values: dict[str, Any], path: KeyPath, model: type[BaseModel]
) -> bool:
    to = _key_of(values, path, model)
    if to is None:
        return False
    value = document.at(path)
    if to == path[:-1] and not isinstance(value, dict):
        return False
    if to in _LISTS and isinstance(value, str | dict):
        document.at(path[:-1])[path[-1]] = [value]
    move(document, path, to)
    return True


def _key_of(values: dict[str, Any], path: KeyPath, model: type[BaseModel]) -> KeyPath | None:
    """The key that the unknown one at `path` is by another name."""
    word, section = str(path[-1]), where_of(path[:-1])
    found = lookup_key(section, word)
    if found is not None:
        return resolved(found, values, path, model) if found.same else None
    # Everything in `training`, or at the top: the habit of tools with one list of options.
    if section == "training" and word in model.model_fields:
        return (word,)
    elsewhere = sections_with(word, values, model)
    if len(elsewhere) == 1 and section in ("", "training"):
        return (elsewhere[0], word)
    return None


def resolved(
    found: Word, values: dict[str, Any], path: KeyPath, model: type[BaseModel]
) -> KeyPath | None:
    """The first of the keys that a word may stand for which there is, or None."""
    for here in found.here:
        steps = tuple(step for step in here.split(".") if step)
        to = (*path[:-1], *steps) if here.startswith(".") else steps
        if to == path[:-1] or to[-1] in keys_at(to[:-1], values, model):
            return to
    return None


def _accept_value(document: Document, path: KeyPath, detail: ErrorDetails) -> bool:
    value = detail["input"]
    if path in _LISTS and detail["type"] == "list_type" and isinstance(value, str | dict):
        document.put(path, [value], document.place(path))
        return True
    if detail["type"] == "union_tag_invalid":
        value = value["name"]
        if isinstance(document.at(path), dict):
            path = (*path, "name")
    where = where_of(path).removesuffix(".name")
    found = lookup(f"{where}=", as_text(value))
    if (new := renamed.present(f"{where}.name", value)) is not value:
        renamed.say(document, path, value, new)
        found = Word((new,), same=True, note="")
    if found is None and isinstance(value, str):
        alike = spelled_alike(value, words_in(detail))
        found = Word((alike,), same=True, note="") if alike else None
    return _replace(document, path, found)


def _replace(document: Document, path: KeyPath, found: Word | None) -> bool:
    if found is None or not found.same:
        return False
    document.put(path, found.here[0], document.place(path))
    return True


def move(document: Document, path: KeyPath, to: KeyPath) -> None:
    """Bring what stands at `path` to another key, with the places where it was written.

    A mapping that meets one is joined with it, and a name with a mapping is its `name`.

    Raises:
        ConfigError: something else stands there already.
    """
    parent = document.at(path[:-1])
    value, where = parent[path[-1]], document.place(path)
    there = document.at(to)
    if isinstance(value, dict) and (there is None or isinstance(there, str | dict)):
        if not value and there is None:
            document.put(to, {}, where)
        for key in list(value):
            move(document, (*path, key), (*to, key))
    elif there is None or _is_weaker(document, document.places.get(to, ""), where):
        moved = {p: w for p, w in document.places.items() if p[: len(path)] == path}
        document.put(to, value, where)
        document.places |= {(*to, *p[len(path) :]): w for p, w in moved.items()}
    elif not _is_weaker(document, where, document.places[to] if document.places else document.file):
        both = f"{dotted_path(path)}: the same as {dotted_path(to)}, which is given, too"
        raise ConfigError(f"{where}: {both}; keep one")
    del parent[path[-1]]


def _is_weaker(document: Document, place: str, other: str) -> bool:
    """Whether what was written at `place` gives way: to the command line, or as a default."""
    if not place:
        return bool(document.places)
    return other.startswith("command line") and not place.startswith("command line")


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
