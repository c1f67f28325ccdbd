"""What `cnnrun list` shows: the registered components, read from their signatures."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator
from textwrap import fill, wrap
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cnnrun.config import shipped
from cnnrun.config.key_docs import parameter_texts, prose
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.registry import KINDS, Entry, Registry
from cnnrun.registry.library import Library
from cnnrun.registry.nested import nested_in
from cnnrun.runtime import console

_WIDTH, _INDENT = 80, " " * 6


def components(kind: str | None, name: str | None) -> dict[str, list[dict[str, Any]]]:
    """The components of `kind` (or of all kinds), or the one called `name`, by kind.

    Shipped experiments, studies and sweeps also count as kinds.

    Raises:
        ConfigError: no such kind or name; the nearest is suggested.
    """
    kinds = [*KINDS, *shipped.LISTED]
    for plural, singular in (("ies", "y"), ("s", "")):
        if kind is not None and kind.removesuffix(plural) + singular in kinds:
            kind = kind.removesuffix(plural) + singular
    if kind is not None and kind not in kinds:
        hint = _kinds_of(kind) or did_you_mean(kind, kinds)
        raise ConfigError(f"unknown kind '{kind}'{hint or '; kinds: ' + ', '.join(kinds)}")
    if kind in shipped.LISTED:
        return {kind: _shipped(kind, name)}
    if kind is not None and name is not None:
        return {kind: [_one(KINDS[kind], name)]}
    found = {
        k: [
            *(describe(registry.get(n)) for n in registry.names()),
            *map(_library, registry.libraries.known.values()),
        ]
        for k, registry in KINDS.items()
        if kind in (None, k)
    }
    return found if kind else {**found, **{k: _shipped(k, None) for k in shipped.LISTED}}


def _kinds_of(name: str) -> str:
    """Where the list has what was taken for a kind: `cnnrun list mixup`."""
    shown = [kind for kind, registry in KINDS.items() if registry.find(name)]
    shown += [
        k for k in shipped.LISTED if name in [entry["name"] for entry in shipped.described(k)]
    ]
    return "; see " + " or ".join(f"`cnnrun list {kind} {name}`" for kind in shown) if shown else ""


def _one(registry: Registry, name: str) -> dict[str, Any]:
    """The component called `name`, or the library `torch`."""
    kind = registry.kind
    family = f"{name.partition('/')[0]}/*" if "/" in name else ""
    library = registry.libraries.known.get(name.removesuffix("/*"))
    if library is not None:
        return _library(library)
    member = registry.libraries.get(name)
    if member is None and not {name, family} & set(registry.names()):
        names = registry.libraries.names_beside(name) or registry.names()
        hint = did_you_mean(name, names) or (did_you_mean(family, names) if family else "")
        raise ConfigError(f"unknown {kind} '{name}'{hint}; `cnnrun list {kind}` shows all")
    return describe(member or registry.get(name))


def _library(library: Library) -> dict[str, Any]:
    """A library's components, in the form of `describe`."""
    names = fill(", ".join(library.names()), _width(), break_on_hyphens=False)
    return {
        "name": f"{library.name}/*",
        "summary": library.summary,
        "description": f"{library.summary}\n\n{names}",
        "parameters": [],
    }


def _shipped(kind: str, name: str | None) -> list[dict[str, Any]]:
    entries = shipped.described(kind)
    found = [entry for entry in entries if name in (None, entry["name"])]
    if not found:
        hint = did_you_mean(name or "", [entry["name"] for entry in entries])
        raise ConfigError(f"unknown {kind} '{name}'{hint}; `cnnrun list {kind}` shows all")
    return found


def describe(entry: Entry) -> dict[str, Any]:
    """Name, summary, whole description and parameters of one component."""
    fields, texts = entry.schema().model_fields, parameter_texts(entry)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "description": "\n\n".join([entry.summary, *prose(entry)]),
        "parameters": [
            {
                "name": name,
                "type": type_text(field),
                "required": field.is_required(),
                "default": None if field.is_required() else plain(field.default),
                "description": texts.get(name, ""),
            }
            for name, field in sorted(fields.items(), key=lambda f: f[0] not in entry.parameters)
            if name != "name"
        ],
    }


def plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def type_text(field: FieldInfo) -> str:
    """A parameter's type in readable form, e.g. `float > 0` or `zeros, reflect or edge`."""
    if nested := nested_in(None, field.metadata):
        return _type(Annotated[Any, nested])
    return " ".join([_type(field.annotation), *_limits(field.metadata)])


def _limits(constraints: Iterable[Any]) -> Iterator[str]:
    for constraint in constraints:
        if isinstance(constraint, FieldInfo):
            yield from _limits(constraint.metadata)
        for name, sign in {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}.items():
            limit = getattr(constraint, name, None)
            if limit is not None and limit < 2**62:  # a limit of 64 bits is none to a person
                yield f"{sign} {limit:g}"


_WORDS: dict[Any, str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    type(None): "null",
    Any: "anything",
}


def _type(annotation: Any) -> str:
    *others, last = dict.fromkeys(_choices(annotation))
    return f"{', '.join(others)} or {last}" if others else last


def _choices(annotation: Any) -> list[str]:
    if annotation in _WORDS:
        return [_WORDS[annotation]]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and (nested := nested_in(annotation)):
        kind = nested.registry.kind
        one = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        return [*nested.others, one, *(["str"] if nested.others else [])]
    if origin is Annotated:
        *others, last = _choices(arguments[0])
        return [*others, " ".join([last, *_limits(arguments[1:])])]
    if origin is Literal:
        return list(map(str, arguments))
    if origin in (Union, types.UnionType):
        # The many schemas of a component are one to the reader.
        found: list[str] = []
        for argument in arguments:
            choices = _choices(argument)
            inner = _choices(get_args(argument)[0]) if get_origin(argument) is list else []
            found += ["a list of these"] if inner and inner == found else choices
        return found
    if origin is list:
        return [f"list of {_type(arguments[0])}"]
    if origin is dict:
        return [f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"]
    assert inspect.isclass(annotation), annotation
    return ["component" if "name" in getattr(annotation, "model_fields", ()) else "mapping"]


def to_text(found: dict[str, list[dict[str, Any]]], full: bool) -> str:
    """The components as text: one line each, or with `full` everything about them."""
    lines: list[str] = []
    for kind, entries in found.items():
        if not full:
            lines.append(f"{kind}")
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            if full:
                lines += [f"{kind} {entry['name']}", "", entry["description"], ""]
            else:
                lines.append(f"  {entry['name']:{width}}  {entry['summary']}")
            if full and "parameters" in entry:
                lines += _parameter_lines(entry["parameters"])
        lines.append("")
    return "\n".join(lines).rstrip()


def _parameter_lines(parameters: list[dict[str, Any]]) -> list[str]:
    if not parameters:
        return ["no parameters"]
    defaults = ["required" if p["required"] else _shown(p["default"]) for p in parameters]
    name_width = max(len(p["name"]) for p in parameters)
    default_width = max(map(len, defaults))
    lines = []
    for p, default in zip(parameters, defaults, strict=True):
        lines.append(f"  {p['name']:{name_width}}  {default:{default_width}}  {p['type']}")
        lines += wrap(p["description"], _width(), initial_indent=_INDENT, subsequent_indent=_INDENT)
    return lines


def _width() -> int:
    return min(_WIDTH, console.room() or _WIDTH)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
