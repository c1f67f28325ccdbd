"""Where an experiment names components, and how names of other libraries are registered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnrun import registry
from cnnrun.config.document import Document, KeyPath, dotted_path
from cnnrun.errors import ConfigError, UserError

# Where components are named.
NAMED_IN = {
    "task": registry.tasks,
    "dataset": registry.datasets,
    "dataset.augment": registry.augmentations,
    "model": registry.models,
    "initializer": registry.initializers,
    "loss": registry.losses,
    "optimizer": registry.optimizers,
    "schedule": registry.schedules,
    "loggers": registry.loggers,
}
# Lists of components for which a single one may be given.
LISTS = (("loggers",), ("dataset", "augment"))

# By kind, the words of which place serve a component that is nested in another.
WORDS_OF = {kind.kind: kind.kind for kind in registry.KINDS.values()} | {
    kind.kind: section for section, kind in NAMED_IN.items()
}
_KINDS = {WORDS_OF[kind.kind]: kind for kind in registry.KINDS.values()}


def ask_libraries(document: Document) -> None:
    """Register the named components of other libraries (`torch/NAdam`), with their keys.

    Raises:
        ConfigError: a component that can't be used here.
    """
    problems = []
    for path, kind, name in named_components(document.values):
        try:
            kind.libraries.get(name)
        except UserError as error:
            problems.append(f"{document.place(path)}: {dotted_path(path)}: {error}")
    if problems:
        raise ConfigError(problems)


def names_beside(where: str, name: Any) -> list[str]:
    """The library's names if `name` starts with a library (`torch/...`).

    where: the place in the table of words.
    """
    kind = _KINDS.get(where.removesuffix(".name"))
    return kind.libraries.names_beside(name) if kind else []


def named_components(values: Any) -> Iterator[tuple[KeyPath, registry.Registry, str]]:
    """Each place where a component is named, its kind and its name; nested ones, too."""
    for section, kind in NAMED_IN.items():
        path: KeyPath = tuple(section.split("."))
        found = values
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        yield from _named_at(path, kind, found)


def _named_at(
    path: KeyPath, kind: registry.Registry, value: Any
) -> Iterator[tuple[KeyPath, registry.Registry, str]]:
    for i, item in enumerate(value if isinstance(value, list) else ()):
        yield from _named_at((*path, i), kind, item)
    mapping = registry.as_mapping(value)
    name = mapping.get("name") if isinstance(mapping, dict) else None
    if isinstance(name, str):
        yield path, kind, name
        for parameter, nested in nested_of(kind, name).items():
            yield from _named_at((*path, parameter), nested.registry, mapping.get(parameter))


def nested_of(kind: registry.Registry, name: Any) -> dict[str, registry.Nested]:
    """The parameters of a component that are components; {} for an unknown one."""
    try:
        found = kind.find(name)
    except UserError:
        return {}
    return found.nested if found else {}


def name_nested(kind: registry.Registry, value: Any) -> None:
    """Give nested components without a name their default one: `encoder: {channels: [8]}`."""
    if not isinstance(value, dict):
        return
    for parameter, nested in nested_of(kind, value.get("name")).items():
        default = kind.get(value["name"]).default(parameter)
        given = value.get(parameter)
        for each in given if isinstance(given, list) else [given]:
            if isinstance(each, dict) and isinstance(default, str):
                each.setdefault("name", default)
            name_nested(nested.registry, each)
