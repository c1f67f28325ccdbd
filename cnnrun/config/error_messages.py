"""Pydantic's findings as one line for each wrong key: where, which key, what was expected."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cnnrun.config.component_names import NAMED_IN, names_beside
from cnnrun.config.document import Document, KeyPath, dotted_path
from cnnrun.config.places import (
    components_with,
    keys_at,
    keys_elsewhere,
    known_key,
    nested_at,
    path_in,
    words_at,
    words_in,
)
from cnnrun.config.synonyms import resolved, to_text
from cnnrun.config.words import (
    exact,
    lookup,
    lookup_in_sections,
    near_key,
    nearest,
    slip_of,
    spelled_alike,
    where_of,
)
from cnnrun.errors import did_you_mean, did_you_mean_or_sizes
from cnnrun.registry import Nested

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

_OF_ONE_OR_LIST = {"list_type", "model_attributes_type"}

_OFF_BY_DEFAULT = {
    ("training", "amp"),
    ("training", "ema"),
    ("training", "swa"),
    ("dataset", "augment"),
}

# Patterns of strings, as text.
_FORMS = {
    "device": "auto, cpu, mps, cuda or cuda:1",
    "name": "letters, digits and ._+-, starting with a letter or digit",
    "training.checkpoint_every": "100 steps or 60 seconds",
    "dataset.fold": "2/5",
}


def explain(
    document: Document,
    error: ValidationError,
    model: type[BaseModel],
    values: dict[str, Any] | None = None,
) -> list[str]:
    """A message for each wrong key of `document`, which `model` refused.

    values: the document's, completed by defaults.
    """
    values = document.values if values is None else values
    grouped: dict[tuple[KeyPath, bool], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = path_in(values, detail["loc"], detail["type"])
        at_key = detail["type"] == "extra_forbidden"
        grouped.setdefault((path, at_key), []).append(detail)
    if (("task",), False) in grouped:  # the task decides which sections may be left out
        grouped = {at: d for at, d in grouped.items() if d[0]["type"] != "missing"}
    deeper = {path[:depth] for path, _ in grouped for depth in range(len(path))}
    return [
        f"{document.place(path, key=at_key)}: {dotted_path(path)}: "
        + _message(values, path, details, model)
        for (path, at_key), details in grouped.items()
        # One component, where a list of them may stand as well: what is wrong is inside it.
        if not (path in deeper and {d["type"] for d in details} <= _OF_ONE_OR_LIST)
    ]


def _message(
    values: dict[str, Any], path: KeyPath, details: list[ErrorDetails], model: type[BaseModel]
) -> str:
    first = details[0]
    kind = first["type"]
    if kind == "missing":
        return "this key is required"
    if kind == "extra_forbidden":
        return f"unknown key{_unknown_key(values, path, model)}"
    if kind == "value_error":
        return str(first["ctx"]["error"])
    kinds = dict.fromkeys(_expectation(detail, path) for detail in details)
    if "a number" in kinds:
        kinds.pop("a whole number", None)
    expected = " or ".join(kinds)
    words = [word for detail in details for word in words_in(detail)]
    given, where = first["input"], words_at(path, values, model)
    if kind == "union_tag_invalid":
        given = given["name"]
        words = names_beside(where, given) or words
        return f"unknown name {_short(given)}{_unknown_value(where, given, words)}"
    hint = did_you_mean(given, words) if isinstance(given, str) else ""
    if known := lookup(f"{where}=", to_text(given)):
        hint = known.hint(given, at=where)
    return f"expected {expected}, got {_short(given)}{hint}"


def _expectation(detail: ErrorDetails, path: KeyPath) -> str:
    if detail["type"] in _EXPECTED:
        return _EXPECTED[detail["type"]]
    if detail["type"] == "literal_error":
        return str(detail["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
    if detail["type"] == "string_pattern_mismatch":
        return f"text of the form {_FORMS.get(where_of(path), detail['ctx']['pattern'])}"
    if detail["type"] == "union_tag_not_found":
        return "a name or a mapping with `name`"
    # "Input should be greater than 0", "List should have at least 1 item after validation, not 0"
    text = re.sub(r"^List should have (.*) after validation.*", r"a list of \1", detail["msg"])
    return re.sub(r"^(Input|String|Value) should (be|have) ", "", text)


def _short(value: Any) -> str:
    text = to_text(value) if isinstance(value, bool) else "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_value(where: str, given: Any, words: list[str]) -> str:
    """A suggestion for an unknown name; exact words of other tools come first."""
    known = lookup(f"{where}=", given)
    if known is not None:
        return known.hint(given)
    if not isinstance(given, str):
        return f"; known: {nearest(str(given), words)}"
    if near := did_you_mean_or_sizes(given, words):
        return near
    other = lookup(f"{where}?", given)
    if other is not None and other.here:
        return other.hint(given)
    return f"; known: {nearest(given, words)}{other.hint(given) if other else ''}"


def _unknown_key(values: dict[str, Any], path: KeyPath, model: type[BaseModel]) -> str:
    """A suggestion for an unknown key: a word of another tool, a key elsewhere, a near one here."""
    word, mapping = str(path[-1]), where_of(path[:-1])
    here = keys_at(path[:-1], values, model)
    if "/" in str(_named(values, path[:-1])) and (near := did_you_mean(word, here)):
        return near  # a library's own keys have its own words
    known = known_key(path, values, model)
    if known is None and not keys_elsewhere(word, values, model):
        known = lookup_in_sections(mapping, word)
    to = resolved(known, values, path, model) if known else None
    if known is not None and (to or not known.here):
        return known.hint(_given(values, path), _shown(to, path)) + _switched_off(values, path, to)
    if having := _having_beside(values, path, model):
        return having
    if known is not None and known.here[0].startswith("."):
        return known.hint(_given(values, path)) + _having(known.here[0][1:], mapping, model)
    elsewhere = [to for to in keys_elsewhere(word, values, model) if to[:1] != path[:1]]
    elsewhere += [(word,)] if len(path) > 1 and word in model.model_fields else []
    if elsewhere:
        return "; did you mean " + " or ".join(f"'{dotted_path(to)}'" for to in elsewhere) + "?"
    if known is not None and known.here[0].partition(".")[0] in model.model_fields:
        section, _, key = known.here[0].partition(".")
        return known.hint(_given(values, path)) + _having(key, section, model)
    if component := _component_called(word, mapping):
        return component
    return _nearest_key(values, path, here, model)


def _nearest_key(
    values: dict[str, Any], path: KeyPath, here: list[str], model: type[BaseModel]
) -> str:
    """The key that an unknown one may be a typo of; else the list of keys."""
    word = str(path[-1])
    if near := did_you_mean(word, here):
        return near
    if len(longer := [key for key in here if key.startswith(f"{word}_")]) == 1:
        return f"; did you mean '{longer[0]}'?"  # `kernel` for `kernel_size`
    slip = near_key(words_at(path[:-1], values, model), word)
    if slip and nested_at(path[:-1], values, model):
        slip = slip.beside()
    if slip is not None and (to := resolved(slip, values, path, model)):
        return slip.hint(_given(values, path), _shown(to, path))
    if len(path) == 1:
        for section in model.model_fields:
            if having := _having(word, section, model):
                return f"; did you mean '{section}.{word}'?{having}"
        inside = {k: s for s in model.model_fields for k in keys_at((s,), values, model)}
        if slip_here := slip_of(word, inside):
            return f"; did you mean '{inside[slip_here]}.{slip_here}'?"
    if here == ["name"]:
        return f"; {_named(values, path[:-1])} has no keys"
    return f"; the keys here are {nearest(word, here) or 'none'}"


def _component_called(word: str, mapping: str) -> str:
    """A component's name, ours or another tool's, used as a key: `mixup: 0.8`."""
    for where, kind in NAMED_IN.items():
        if mapping not in ("", where, "training", where.partition(".")[0]):
            continue
        known = exact(f"{where}=", word)
        name = spelled_alike(word, kind.names()) or (known.here[0] if known and known.here else "")
        if known is not None and not name:
            return known.hint(word)
        if name and "." not in name:
            listed = f"[{{name: {name}}}]" if where in ("dataset.augment", "loggers") else ""
            return f"; did you mean '{where}: {listed or f'{{name: {name}}}'}'?"
    return ""


def _switched_off(values: dict[str, Any], path: KeyPath, to: KeyPath | None) -> str:
    """Where something that is off by default is switched off by another tool's word."""
    off = (to is not None and to[:2] in _OFF_BY_DEFAULT) or (
        to and to[0] in ("transfer", "loggers")
    )
    return "; it is off unless given: leave it out" if off and not _given(values, path) else ""


def _having_beside(values: dict[str, Any], path: KeyPath, model: type[BaseModel]) -> str:
    """Which other components that may stand in its place have the key at `path`, or ""."""
    word, mapping = str(path[-1]), path[:-1]
    if found := nested_at(mapping, values, model):
        return _listed([name for name in found[1].names() if word in _keys_of(found[1], name)])
    return _having(word, where_of(mapping), model) if len(path) == 2 else ""


def _keys_of(nested: Nested, name: str) -> tuple[str, ...]:
    entry = nested.registry.find(name)
    return entry.parameters if entry else ()


def _having(key: str, section: str, model: type[BaseModel]) -> str:
    """`; sgd and rmsprop have it`: which components of a section have the key, or ""."""
    return _listed(components_with(key, section, model))


def _listed(names: list[str]) -> str:
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} others"]
    if not names:
        return ""
    return (
        f"; {' and '.join([', '.join(names[:-1]), names[-1]])} have it"
        if names[1:]
        else (f"; {names[0]} has it")
    )


def _given(values: dict[str, Any], path: KeyPath) -> Any:
    value: Any = values
    for step in path:
        value = value[step]
    return value


def _named(values: dict[str, Any], path: KeyPath) -> Any:
    """The component that the mapping at `path` names, if it is one."""
    mapping = _given(values, path)
    return mapping.get("name") if isinstance(mapping, dict) else None


def _shown(to: KeyPath | None, path: KeyPath) -> str | None:
    """A key next to the one at `path`, as it is written."""
    if to is None:
        return None
    return str(to[-1]) if to[:-1] == path[:-1] else dotted_path(to)
