"""What `cnnrun list` shows: the registered components, read from their signatures."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cnnrun.config import shipped
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.registry import KINDS, Entry


def components(kind: str | None, name: str | None) -> dict[str, list[dict[str, Any]]]:
    """The components of `kind` (or of all kinds), or the one called `name`, by kind.

    Shipped experiments, studies and sweeps are kinds, too.

    Raises:
        ConfigError: no such kind or name; the nearest is suggested.
    """
    kinds = [*KINDS, *shipped.LISTED]
    for plural, singular in (("ies", "y"), ("s", "")):
        if kind is not None and kind.removesuffix(plural) + singular in kinds:
            kind = kind.removesuffix(plural) + singular
    if kind is not None and kind not in kinds:
        hint = did_you_mean(kind, kinds)
        raise ConfigError(f"unknown kind '{kind}'{hint or '; kinds: ' + ', '.join(kinds)}")
    if kind in shipped.LISTED:
        return {kind: _shipped(kind, name)}
    if kind is not None and name is not None:
        family = f"{name.partition('/')[0]}/*" if "/" in name else ""
        if not {name, family} & set(KINDS[kind].names()):
            names = KINDS[kind].names()
            hint = did_you_mean(name, names) or (did_you_mean(family, names) if family else "")
            raise ConfigError(f"unknown {kind} '{name}'{hint}; `cnnrun list {kind}` shows all")
        return {kind: [describe(KINDS[kind].get(name))]}
    found = {
        k: [describe(registry.get(n)) for n in registry.names()]
        for k, registry in KINDS.items()
        if kind in (None, k)
    }
    return found if kind else {**found, **{k: _shipped(k, None) for k in shipped.LISTED}}


def _shipped(kind: str, name: str | None) -> list[dict[str, Any]]:
    entries = shipped.described(kind)
    found = [entry for entry in entries if name in (None, entry["name"])]
    if not found:
        hint = did_you_mean(name or "", [entry["name"] for entry in entries])
        raise ConfigError(f"unknown {kind} '{name}'{hint}; `cnnrun list {kind}` shows all")
    return found


def describe(entry: Entry) -> dict[str, Any]:
    """Name, summary, whole description and parameters of one component."""
    fields = entry.schema().model_fields
    return {
        "name": entry.name,
        "summary": entry.summary,
        "description": inspect.getdoc(entry.factory) or "",
        "parameters": [
            {
                "name": name,
                "type": type_text(field),
                "required": field.is_required(),
                "default": None if field.is_required() else plain(field.default),
            }
            for name, field in fields.items()
            if name != "name"
        ],
    }


def plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def type_text(field: FieldInfo) -> str:
    """A parameter's type in words, e.g. `number > 0` or `zeros | reflect`."""
    limits = [str(m) for m in map(_limit, field.metadata) if m]
    return " ".join([_type(field.annotation), *limits])


def _limit(constraint: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return " ".join(
        f"{sign} {getattr(constraint, name):g}"
        for name, sign in signs.items()
        if getattr(constraint, name, None) is not None
    )


_WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true | false",
    str: "text",
    type(None): "null",
    Any: "any",
}


def _type(annotation: Any) -> str:
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [_limit(m) for m in arguments[1:]]
        return " ".join([_type(arguments[0]), *filter(None, limits)])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        # The many schemas of a component are one thing to the reader.
        parts = dict.fromkeys(_type(argument) for argument in arguments)
        return " | ".join(parts)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "component" if "name" in annotation.model_fields else "mapping"
    return str(typing.cast(Any, annotation))


def as_text(found: dict[str, list[dict[str, Any]]], full: bool) -> str:
    """The components as a page: a line each, or with `full` everything about them."""
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
    return [
        f"  {p['name']:{name_width}}  {default:{default_width}}  {p['type']}"
        for p, default in zip(parameters, defaults, strict=True)
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
