"""Where one of pydantic's errors is in the YAML file, and which keys and words are valid there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cnnrun.config.component_names import WORDS_OF
from cnnrun.config.document import KeyPath
from cnnrun.config.words import (
    Word,
    lookup_key,
    lookup_nested_key,
    spelled_alike,
    where_of,
)
from cnnrun.errors import UserError
from cnnrun.registry import Nested
from cnnrun.registry.nested import nested_in


def path_in(values: Any, location: tuple[int | str, ...], kind: str) -> KeyPath:
    """Pydantic's location without the names of union members between the keys."""
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


def words_in(detail: ErrorDetails) -> list[str]:
    """The valid words of a choice, as pydantic lists them."""
    context = detail.get("ctx", {})
    return re.findall(
        r"'([^']*)'", str(context.get("expected_tags") or context.get("expected", ""))
    )


def keys_at(path: KeyPath, values: dict[str, Any], model: type[BaseModel]) -> list[str]:
    """The keys that the mapping at `path` may have, by the components that `values` name."""
    *_, (_, _, candidates) = _steps(path, values, model)
    return sorted({key for candidate in candidates for key in candidate.model_fields})


def nested_at(
    path: KeyPath, values: dict[str, Any], model: type[BaseModel]
) -> tuple[KeyPath, Nested] | None:
    """The innermost component within a component that `path` leads to or into, and its place."""
    found = [(at, nested) for at, nested, _ in _steps(path, values, model) if nested]
    return found[-1] if found else None


def words_at(path: KeyPath, values: dict[str, Any], model: type[BaseModel]) -> str:
    """The place of `path` in the table of words: a model's words also serve `model.encoder`."""
    found = nested_at(path, values, model)
    if found is None:
        return where_of(path)
    at, nested = found
    return where_of((WORDS_OF[nested.registry.kind], *path[len(at) :]))


def known_key(path: KeyPath, values: dict[str, Any], model: type[BaseModel]) -> Word | None:
    """What the table says of the unknown key at `path`."""
    mapping, key = path[:-1], path[-1]
    if nested_at(mapping, values, model) is None:
        return lookup_key(where_of(mapping), key)
    return lookup_nested_key(where_of(mapping), words_at(mapping, values, model), key)


def _steps(
    path: KeyPath, values: dict[str, Any], model: type[BaseModel]
) -> Iterator[tuple[KeyPath, Nested | None, list[type[BaseModel]]]]:
    """Each beginning of `path`: whether a component is nested there, and the mappings it may be."""
    candidates: list[type[BaseModel]] = [model]
    nested: Nested | None = None
    value: Any = values
    yield (), None, candidates
    for depth, step in enumerate(path):
        value = value.get(step) if isinstance(value, dict) else _item(value, step)
        if isinstance(step, str):
            fields = [c.model_fields[step] for c in candidates if step in c.model_fields]
            marked = (nested_in(field.annotation, field.metadata) for field in fields)
            nested = next(filter(None, marked), None)
            candidates = [m for f in fields for m in _models_in(f.annotation)]
        name = value.get("name") if isinstance(value, dict) else value
        if nested is not None:
            candidates = _schemas(nested, name)
        elif isinstance(name, str):
            candidates = _of_name(name, candidates)
        yield path[: depth + 1], nested, candidates


def _schemas(nested: Nested, name: Any) -> list[type[BaseModel]]:
    try:
        found = nested.schema(name)
    except UserError:
        return []
    return [found] if found else []


def is_mapping(path: KeyPath, values: dict[str, Any], model: type[BaseModel]) -> bool:
    """Whether a mapping may stand at `path`: a section, or `dataset.normalize`."""
    return not path or bool(keys_at(path, values, model))


def keys_elsewhere(word: str, values: dict[str, Any], model: type[BaseModel]) -> list[KeyPath]:
    """The sections' keys that equal `word` except for spelling, for the components named now."""
    found: list[KeyPath] = []
    for section in model.model_fields:
        keys = keys_at((section,), values, model)
        # A section that names no component has no known keys.
        if (section in values or "name" not in keys) and (alike := spelled_alike(word, keys)):
            found.append((section, alike))
    return found


def components_with(word: str, section: str, model: type[BaseModel]) -> list[str]:
    """The components that a section may name which have the key `word`."""
    field = model.model_fields.get(section)
    found = _models_in(field.annotation) if field else []
    return [m.__name__ for m in found if "name" in m.model_fields and word in m.model_fields]


def _of_name(name: str, candidates: list[type[BaseModel]]) -> list[type[BaseModel]]:
    family = f"{name.partition('/')[0]}/*"
    return [c for c in candidates if c.__name__ in (name, family)] or candidates


def _item(value: Any, step: int | str) -> Any:
    inside = isinstance(value, list) and isinstance(step, int) and step < len(value)
    return value[step] if inside else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
