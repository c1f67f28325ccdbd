"""Pydantic's findings as one line for each wrong key: where, which key, what was expected."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cnnrun.config.document import Document, KeyPath, dotted_path
from cnnrun.errors import did_you_mean

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a name or a mapping with `name`",
    "none_required": "null",
    "finite_number": "a finite number",
}

# What people write for it elsewhere.
_ALIASES = {
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "wd": "weight_decay",
    "bs": "batch_size",
    "early_stopping": "patience",
    "data_dir": "root",
}


def explain(document: Document, error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A message for each wrong key of `document`, which `model` refused."""
    grouped: dict[tuple[KeyPath, bool], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = _path_in(document.values, detail["loc"], detail["type"])
        at_key = detail["type"] == "extra_forbidden"
        grouped.setdefault((path, at_key), []).append(detail)
    return [
        f"{document.place(path, key=at_key)}: {dotted_path(path)}: "
        + _message(document, path, details, model)
        for (path, at_key), details in grouped.items()
    ]


def _path_in(values: Any, location: tuple[int | str, ...], kind: str) -> KeyPath:
    """Pydantic's location without the names of union members that it puts between keys."""
    path: list[int | str] = []
    for i, step in enumerate(location):
        if isinstance(values, dict) and step in values:
            values = values[str(step)]
        elif isinstance(values, list) and isinstance(step, int):
            values = values[step]
        elif not (kind == "missing" and i == len(location) - 1):
            continue
        path.append(step)
    return tuple(path)


def _message(
    document: Document, path: KeyPath, details: list[ErrorDetails], model: type[BaseModel]
) -> str:
    first = details[0]
    kind = first["type"]
    if kind == "missing":
        return "this key is required"
    if kind == "extra_forbidden":
        return _unknown_key(document, path, first["loc"], model)
    if kind == "value_error":
        return str(first["ctx"]["error"])
    expected = " or ".join(dict.fromkeys(_expectation(detail) for detail in details))
    words = [word for detail in details for word in _words(detail)]
    given = first["input"]
    if kind == "union_tag_invalid":
        given = given["name"]
    hint = did_you_mean(given, words) if isinstance(given, str) else ""
    if kind == "union_tag_invalid":
        return f"unknown name {_short(given)}{hint or '; known: ' + ', '.join(words)}"
    return f"expected {expected}, got {_short(given)}{hint}"


def _expectation(detail: ErrorDetails) -> str:
    if detail["type"] in _EXPECTED:
        return _EXPECTED[detail["type"]]
    if detail["type"] == "literal_error":
        return ", ".join(_words(detail))
    if detail["type"] == "string_pattern_mismatch":
        return f"text of the form {detail['ctx']['pattern']}"
    if detail["type"] == "union_tag_not_found":
        return "a name or a mapping with `name`"
    # "Input should be greater than 0", "List should have at least 1 item ..."
    return re.sub(r"^(Input|String|Value) should (be|have) ", "", detail["msg"])


def _words(detail: ErrorDetails) -> list[str]:
    """The valid words of a choice, as pydantic lists them."""
    context = detail.get("ctx", {})
    return re.findall(
        r"'([^']*)'", str(context.get("expected_tags") or context.get("expected", ""))
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_key(
    document: Document, path: KeyPath, location: tuple[int | str, ...], model: type[BaseModel]
) -> str:
    """The nearest valid key here, else the section that has such a key, else all the keys here."""
    word = str(path[-1])
    here = _keys(model, location[:-1])
    aliases = {alias: key for alias, key in _ALIASES.items() if key in here}
    near = did_you_mean(word, [*here, *aliases])
    for alias, key in aliases.items():
        near = near.replace(f"'{alias}'", f"'{key}'")
    if near:
        return f"unknown key{near}"
    for section, value in document.values.items():
        tag = value.get("name") if isinstance(value, dict) else value
        keys = _keys(model, (section, tag) if isinstance(tag, str) else (section,))
        if _ALIASES.get(word, word) in keys and (section,) != path[:-1]:
            return f"unknown key; did you mean '{section}.{_ALIASES.get(word, word)}'?"
    return f"unknown key; the keys here are {', '.join(here) or 'none'}"


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the mapping at pydantic's `location` may have."""
    candidates = [model]
    for step in location:
        if isinstance(step, int):
            continue
        named = [c for c in candidates if c.__name__ == step]
        if named:
            candidates = named
        else:
            fields = [c.model_fields[step] for c in candidates if step in c.model_fields]
            candidates = [m for f in fields for m in _models_in(f.annotation)]
    return sorted({key for candidate in candidates for key in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
