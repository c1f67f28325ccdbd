"""Where an experiment names components, and how names of other libraries are registered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnrun import registry
from cnnrun.config.document import Document, KeyPath, dotted_path
from cnnrun.config.places import where_of
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


def ask_libraries(document: Document) -> None:
    """Register the named components of other libraries (`torch/NAdam`), with their keys.

    Raises:
        ConfigError: a component that can't be used here.
    """
    problems = []
    for path, kind, name in named_components(document):
        try:
            kind.libraries.get(name)
        except UserError as error:
            problems.append(f"{document.place(path)}: {dotted_path(path)}: {error}")
    if problems:
        raise ConfigError(problems)


def beside(path: KeyPath, name: Any) -> list[str]:
    """The library's names if `name` starts with a library (`torch/...`)."""
    kind = NAMED_IN.get(where_of(path).removesuffix(".name"))
    return kind.libraries.names_beside(name) if kind else []


def named_components(document: Document) -> Iterator[tuple[KeyPath, registry.Registry, str]]:
    """Each place where a component is named, its kind and its name."""
    for section, kind in NAMED_IN.items():
        path: KeyPath = tuple(section.split("."))
        found = document.at(path)
        items = enumerate(found) if path in LISTS and isinstance(found, list) else ()
        for at, given in [((*path, i), item) for i, item in items] or [(path, found)]:
            name = given.get("name") if isinstance(given, dict) else given
            if isinstance(name, str):
                yield at, kind, name
