"""Names of other tools that mean exactly the same are accepted: the config is rewritten.

The table `words.txt` says what means the same. Only what validation refused is looked up, so a
config in cnnrun's own words costs nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cnnrun import registry
from cnnrun.config import renamed
from cnnrun.config.component_names import LISTS, NAMED_IN, WORDS_OF, names_beside
from cnnrun.config.document import Change, Document, KeyPath, dotted_path
from cnnrun.config.places import (
    is_mapping,
    keys_at,
    keys_elsewhere,
    known_key,
    nested_at,
    path_in,
    words_at,
    words_in,
)
from cnnrun.config.words import Word, lookup, lookup_in_sections, spelled_alike, where_of
from cnnrun.errors import ConfigError

# Sections that may be written inside another, as in `model: {optimizer: adam}`.
_SECTIONS = (*NAMED_IN, "transfer", "training")


def accept_names(document: Document) -> None:
    """`type: adam` is `name: adam`, before a section without a name gets its default one.

    So is `{adam: {lr: 0.1}}`. Also handles keys whose values are only checked when the experiment
    is built.
    """
    for section, kind in NAMED_IN.items():
        path: KeyPath = tuple(section.split("."))
        found = document.at(path)
        items = len(found) if isinstance(found, list) else 0
        for each in [(*path, i) for i in range(items)] if path in LISTS else [path]:
            _accept_name(document, each, kind)
    model = registry.as_mapping(document.values.get("model"))
    name = str(model.get("name")) if isinstance(model, dict) else ""
    known = registry.models.find(name)
    free: list[KeyPath] = [("training", "monitor")]
    if not (known and known.is_users):
        free.append(("transfer", "freeze"))
        free += [("model", "weights")] if known and "weights" in known.parameters else []
    for path in free:
        value = document.at(path)
        if value is not None:
            _replace(document, path, lookup(f"{where_of(path)}=", to_text(value)))


def _accept_name(document: Document, path: KeyPath, kind: registry.Registry) -> bool:
    """Returns whether the component at `path` was named in another form."""
    given = document.at(path)
    if not isinstance(given, dict) or "name" in given:
        return False
    naming = [key for key in given if lookup("name", key)]
    again = [key for key in given if _stands_for(key, WORDS_OF[kind.kind]) and not _has(kind, key)]
    if len(naming) == 1:
        move(document, (*path, naming[0]), (*path, "name"))
    elif len(again) == 1:  # `model: {net: {name: cnn}}`
        inner = isinstance(given[again[0]], dict)
        move(document, (*path, again[0]), path if inner else (*path, "name"))
        _accept_name(document, path, kind)
    elif len(given) == 1:
        word, parameters = next(iter(given.items()))
        if isinstance(parameters, dict) and (name := spelled_alike(word, kind.names())):
            move(document, (*path, word), path)
            document.put((*path, "name"), name, document.place(path))
    return "name" in given


def _stands_for(key: str, section: str) -> bool:
    """Whether `key` is another tool's word for `section`."""
    found = lookup("key", key)
    return found is not None and found.same and found.here == (section,)


def _has(kind: registry.Registry, key: str) -> bool:
    """Whether a component of the kind has the parameter `key`: then it may be meant so."""
    return any(key in entry.parameters for entry in kind.entries())


def accept(
    document: Document, values: dict[str, Any], error: ValidationError, model: type[BaseModel]
) -> bool:
    """Fix what `error` refuses in `document` only for its name. Returns whether there was any.

    values: the document's, completed by defaults; pydantic's locations refer to these.

    Raises:
        ConfigError: the same was given twice, under two names.
    """
    changed = False
    named: set[KeyPath] = set()
    fixed: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        path = path_in(values, detail["loc"], detail["type"])
        if document.at(path) is None:
            if detail["input"] is None and "none" in words_in(detail):
                document.put(path, "none", document.place(path))
                fixed.add(path)
            continue  # else it was fixed together with another error about the same value
        if nested := nested_at(path, values, model):
            place, kind = nested[0], nested[1].registry
            if place not in named and _accept_name(document, place, kind):
                named.add(place)
            if place in named:  # `encoder: {type: resnet}`: only now are its keys known
                changed = True
                continue
        if detail["type"] == "extra_forbidden":
            changed |= _accept_key(document, values, path, model)
        elif path not in fixed and _accept_value(  # a union refuses a value more than once
            document, path, detail, words_at(path, values, model)
        ):
            fixed.add(path)
    return changed or bool(fixed)


def _accept_key(
    document: Document, values: dict[str, Any], path: KeyPath, model: type[BaseModel]
) -> bool:
    to = _key_of(values, path, model)
    if to is None:
        return False
    value, where = document.at(path), document.place(path)
    if to == path[:-1] and not isinstance(value, dict):
        if not to or "name" not in keys_at(to, values, model):
            return False
        to = (*to, "name")  # `model: {arch: mlp}`: an alias of the section, inside it
        if document.at(to) and _is_weaker(document, _written_at(document, to), where):
            document.put(path[:-1], value, where)  # as `model=mlp` does
            return True
    elif to in LISTS and isinstance(value, str | dict):
        document.at(path[:-1])[path[-1]] = [value]
    elif isinstance(value, dict) and not is_mapping(to, values, model) and _has_words(value):
        to = to[:-1]  # `early_stopping: {patience: 5}`: keys of the section
    move(document, path, to)
    return True


def _has_words(value: dict[Any, Any]) -> bool:
    """Unlike `class_weight: {0: 1, 1: 5}`."""
    return not all(str(key).isdigit() for key in value)


def _key_of(values: dict[str, Any], path: KeyPath, model: type[BaseModel]) -> KeyPath | None:
    """The key that the unknown one at `path` means: by another name, or in another place."""
    word, section = str(path[-1]), where_of(path[:-1])
    found = known_key(path, values, model)
    if found is not None:
        return resolved(found, values, path, model) if found.same else None
    if alike := spelled_alike(word, keys_at(path[:-1], values, model)):
        return (*path[:-1], alike)  # `Epochs`
    # Everything in `training`, or at the top: common in tools with one flat list of options.
    top = spelled_alike(word, model.model_fields)
    if top is not None and (section == "training" or (top in _SECTIONS and len(path) == 2)):
        return (top,)
    if section not in ("", "training"):
        return None
    if elsewhere := keys_elsewhere(word, values, model):
        return elsewhere[0] if len(elsewhere) == 1 else None
    found = lookup_in_sections(section, word)
    return resolved(found, values, path, model) if found and found.same else None


def resolved(
    found: Word, values: dict[str, Any], path: KeyPath, model: type[BaseModel]
) -> KeyPath | None:
    """The first existing key among those that a word may stand for, or None."""
    for here in found.here:
        steps = tuple(step for step in here.split(".") if step)
        to = (*path[:-1], *steps) if here.startswith(".") else steps
        if to in (path[:-1], ()) or to[-1] in keys_at(to[:-1], values, model):
            return to
    return None


def _accept_value(document: Document, path: KeyPath, detail: ErrorDetails, where: str) -> bool:
    """where: the value's place in the table of words."""
    value = detail["input"]
    if path in LISTS and detail["type"] == "list_type" and isinstance(value, str | dict):
        document.put(path, [value], document.place(path))
        return True
    if detail["type"] == "union_tag_invalid":
        value = value["name"]
        if isinstance(document.at(path), dict):
            path = (*path, "name")
    where = where.removesuffix(".name")
    found = lookup(f"{where}=", to_text(value))
    if (new := renamed.present(f"{where}.name", value)) is not value:
        renamed.say(document, path, value, new)
        found = Word((new,), same=True, note="")
    if found is None and isinstance(value, str):
        alike = spelled_alike(value, [*words_in(detail), *names_beside(where, value)])
        found = Word((alike,), same=True, note="") if alike else None
    return _replace(document, path, found)


def _replace(document: Document, path: KeyPath, found: Word | None) -> bool:
    if found is None or not found.same:
        return False
    document.put(path, found.here[0], document.place(path))
    return True


def move(document: Document, path: KeyPath, to: KeyPath) -> None:
    """Move the value at `path` to another key, with its places in the file.

    Two mappings are merged, and a name that meets a mapping becomes its `name`.

    Raises:
        ConfigError: there is already another value.
    """
    parent = document.at(path[:-1])
    value, where = parent[path[-1]], document.place(path)
    there = document.at(to)
    if isinstance(value, dict) and (there is None or isinstance(there, str | dict)):
        if not value and there is None:
            document.put(to, {}, where)
        for key in list(value):
            move(document, (*path, key), (*to, key))
    elif isinstance(there, dict) and _takes_name(to, there) and isinstance(value, str):
        document.put((*to, "name"), value, where)
    elif there is None or _is_weaker(document, _written_at(document, to), where):
        moved = {p: w for p, w in document.places.items() if p[: len(path)] == path}
        document.put(to, value, where)
        document.places |= {(*to, *p[len(path) :]): w for p, w in moved.items()}
    elif not _is_weaker(document, where, _written_at(document, to) or document.file):
        both = f"{dotted_path(path)}: the same as {dotted_path(to)}, which is also given"
        raise ConfigError(f"{where}: {both}; keep one")
    del parent[path[-1]]


def _takes_name(section: KeyPath, there: dict[Any, Any]) -> bool:
    """Whether a bare name stands for the component of a section that has other keys already."""
    return section not in (("training",), ("transfer",)) and "name" not in there


def _written_at(document: Document, path: KeyPath) -> str:
    """The place of the value at `path`, or of the override that set it; "" for a default."""
    while path and path not in document.places:
        path = path[:-1]
    return document.places.get(path, "") if path else ""


def _is_weaker(document: Document, place: str, other: str) -> bool:
    """Whether the value from `place` is overridden: by a change to the file, or as a default."""
    if not place:
        return bool(document.places)
    return isinstance(other, Change) and not isinstance(place, Change)


def to_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
