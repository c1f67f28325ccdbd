"""Where one of pydantic's errors is in the YAML file, and which keys and words are valid there."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cnnrun.config.document import KeyPath
from cnnrun.config.words import spelled_alike


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


def where_of(path: KeyPath) -> str:
    """`path` as in the table of words: without list indices."""
    return ".".join(step for step in path if isinstance(step, str))


def words_in(detail: ErrorDetails) -> list[str]:
    """The valid words of a choice, as pydantic lists them."""
    context = detail.get("ctx", {})
    return re.findall(
        r"'([^']*)'", str(context.get("expected_tags") or context.get("expected", ""))
    )


def keys_at(path: KeyPath, values: dict[str, Any], model: type[BaseModel]) -> list[str]:
    """The keys that the mapping at `path` may have, by the components that `values` name."""
    candidates: list[type[BaseModel]] = [model]
    value: Any = values
    for step in path:
        value = value.get(step) if isinstance(value, dict) else _item(value, step)
        if isinstance(step, str):
            fields = [c.model_fields[step] for c in candidates if step in c.model_fields]
            candidates = [m for f in fields for m in _models_in(f.annotation)]
        name = value.get("name") if isinstance(value, dict) else value
        if isinstance(name, str):
            candidates = _of_name(name, candidates)
    return sorted({key for candidate in candidates for key in candidate.model_fields})


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
