"""What a file may leave out: sections, and the names of components."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from cnnrun import registry
from cnnrun.config.component_names import NAMED_IN, name_nested
from cnnrun.config.document import Document

# Sections that every file may leave out.
DEFAULTS = {
    "task": "classify",
    "initializer": "default",
    "optimizer": "sgd",
    "schedule": "constant",
}


def default_names(section: str) -> set[str]:
    """The default component of each section that names none, by the experiment's task."""
    tasks = [registry.tasks.get(name).factory for name in registry.tasks.names()]
    by_task = [task.defaults.get(section) for task in tasks]  # type: ignore[attr-defined]
    return {name for name in (DEFAULTS.get(section), *by_task) if isinstance(name, str)}


def completed(document: Document) -> dict[str, Any]:
    """The values, completed by sections and keys that a file may leave out."""
    values: dict[str, Any] = deepcopy(document.values)
    for section, default in {**DEFAULTS, **_task_defaults(document)}.items():
        _fill_in(values.setdefault(section, deepcopy(default)), registry.as_mapping(default))
    for section, kind in NAMED_IN.items():
        name_nested(kind, values.get(section))
    return values


def _fill_in(given: Any, default: dict[str, Any]) -> None:
    """Complete a section of a file: `optimizer: {lr: 0.1}` means the default optimizer.

    The default's other keys don't apply to another component.
    """
    if not isinstance(given, dict):
        return
    if given.get("name") is None or default.get("name") in (None, given["name"]):
        for key, value in default.items():
            given.setdefault(key, value)


def _task_defaults(document: Document) -> dict[str, Any]:
    """The named task's defaults for sections that the file leaves out (such as its loss)."""
    task = registry.as_mapping(document.values.get("task", {}))
    name = task.get("name", DEFAULTS["task"]) if isinstance(task, dict) else None
    if name not in registry.tasks.names():
        return {}
    return dict(registry.tasks.get(str(name)).factory.defaults)  # type: ignore[attr-defined]
