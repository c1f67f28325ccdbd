"""JSON Schema of experiments: an editor completes keys, shows their meaning and marks mistakes.

Derived from the model that validates experiments (`config.experiment_model`), with the docstrings.
It accepts what cnnrun accepts: a component as a bare name or as a mapping, a section
left out where the task has a default for it.
"""

from __future__ import annotations

import inspect
from typing import Any

from cnnrun import registry
from cnnrun.config.defaults import default_names
from cnnrun.config.experiment import Training, experiment_model
from cnnrun.config.key_docs import parameter_texts
from cnnrun.models.transfer import Transfer
from cnnrun.registry import Component, Entry, Registry
from cnnrun.registry.library import Library
from cnnrun.registry.nested import NESTED

Schema = dict[str, Any]

_SECTIONS = {
    "task": registry.tasks,
    "dataset": registry.datasets,
    "model": registry.models,
    "initializer": registry.initializers,
    "loss": registry.losses,
    "optimizer": registry.optimizers,
    "schedule": registry.schedules,
}


def experiment_schema() -> Schema:
    """The schema (JSON Schema 2020-12) of a YAML file, with everything registered now."""
    whole = experiment_model().model_json_schema()
    definitions: Schema = {}
    others = (registry.augmentations, registry.activations, registry.loggers)
    for kind in (*_SECTIONS.values(), *others):
        entries = [kind.get(name) for name in kind.names()]
        shared = entries[0].shared_keys()
        for entry in entries:
            _add_component(definitions, entry, shared)
    for options in (Training, Transfer):
        _add_definition(definitions, options.__name__, options.model_json_schema())
    for section, kind in _SECTIONS.items():
        field = whole["properties"][section]
        kept = {key: field[key] for key in ("default", "description") if field.get(key)}
        whole["properties"][section] = _component(kind) | kept
    whole["properties"]["loggers"]["items"] = _component(registry.loggers)
    whole["$defs"] = definitions
    _require(whole)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_titles(whole),
        "title": "cnnrun experiment",
        "description": "One YAML file is one experiment: `cnnrun train FILE`.",
    }


def _component(kind: Registry) -> Schema:
    """A component of `kind`: a name, or a mapping with `name` and parameters."""
    entries = [kind.get(name) for name in kind.names()]
    bare = [
        {"const": entry.name, "description": entry.summary}
        for entry in entries
        if not entry.is_family and not _has_required(entry)
    ]
    families = [
        {"type": "string", "pattern": f"^{entry.name[:-1]}.", "description": entry.summary}
        for entry in entries
        if entry.is_family
    ]
    mappings = [{"$ref": f"#/$defs/{_key(entry)}"} for entry in entries]
    libraries = [each for library in kind.libraries.known.values() for each in _library(library)]
    return {"anyOf": [*bare, *families, *mappings, *libraries]}


def _library(library: Library) -> list[Schema]:
    """A member of another library: a name, or a mapping with that library's keys."""
    name = {"type": "string", "description": library.summary, "enum": library.names()}
    return [name, {"type": "object", "properties": {"name": name}, "required": ["name"]}]


def _has_required(entry: Entry) -> bool:
    given = entry.signature.parameters
    return any(given[name].default is inspect.Parameter.empty for name in entry.parameters)


def _key(entry: Entry) -> str:
    """The name of a component's definition; several kinds may have the same names."""
    return f"{entry.kind}.{entry.name.replace('/*', '')}"


def _add_component(definitions: Schema, entry: Entry, shared: type[Component]) -> None:
    """shared: the keys of all components of its kind."""
    schema = entry.schema(shared).model_json_schema()
    _add_definition(definitions, _key(entry), schema)
    schema["description"] = inspect.getdoc(entry.factory) or ""
    named = set() if entry.name in default_names(entry.kind) else {"name"}
    schema["required"] = sorted({*named, *schema.get("required", [])})
    for name, text in parameter_texts(entry).items():
        schema["properties"][name]["description"] = text
    if "augment" in schema["properties"]:
        schema["properties"]["augment"]["items"] = _component(registry.augmentations)
    for name in entry.nested:
        schema["properties"][name] = _with_nested(schema["properties"][name])


def _with_nested(value: Any) -> Any:
    """A parameter's schema, with what its components may be in place of `NESTED`."""
    if isinstance(value, list):
        return [_with_nested(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _with_nested(part) for key, part in value.items() if key != NESTED}
    if NESTED in value:
        others = [{"type": "string"}] if inner.pop("others") else []
        return inner | {"anyOf": [*_component(registry.KINDS[value[NESTED]])["anyOf"], *others]}
    if "anyOf" in inner:
        inner["anyOf"] = [one for part in inner["anyOf"] for one in part.get("anyOf", [part])]
    return inner


def _add_definition(definitions: Schema, key: str, schema: Schema) -> None:
    """Move the definitions inside `schema`, such as `MeanStd`, to the others."""
    for name, definition in schema.pop("$defs", {}).items():
        definitions.setdefault(name, definition)
    definitions[key] = schema


def _require(whole: Schema) -> None:
    """Require only those sections for which no task has a default.

    `name` defaults to the file's.
    """
    whole["required"] = ["dataset"]
    rules = []
    for name in registry.tasks.names():
        defaults = set(registry.tasks.get(name).factory.defaults)  # type: ignore[attr-defined]
        missing = [section for section in ("model", "loss") if section not in defaults]
        if missing:
            mapping = {"type": "object", "properties": {"name": {"const": name}}}
            named = {"anyOf": [{"const": name}, mapping]}
            condition: Schema = {"properties": {"task": named}}
            if name != "classify":
                condition["required"] = ["task"]
            rules.append({"if": condition, "then": {"required": missing}})
    whole["allOf"] = rules


def _without_titles(value: Any) -> Any:
    """Without pydantic's titles, which repeat keys and push descriptions out of an editor's view.

    A key may be called `title`: only strings are left out.
    """
    if isinstance(value, dict):
        return {
            key: _without_titles(inner)
            for key, inner in value.items()
            if not (key == "title" and isinstance(inner, str))
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value
