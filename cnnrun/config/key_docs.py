"""Descriptions of YAML keys, from the docstrings of fields and factories.

For `cnnrun list`, `cnnrun schema` (an editor's hover text), the comments that `cnnrun new` writes,
and the tables of the documentation.
"""

from __future__ import annotations

import inspect
import re

from pydantic import BaseModel

from cnnrun.registry import Entry

# `noise: Noise in the inputs alone.`, as in docstrings; more indented lines belong to it.
_PARAMETER = re.compile(r"(\w+): (.*)")
_SECTION = re.compile(r"(Raises|Returns|Yields):")


def parameter_texts(entry: Entry) -> dict[str, str]:
    """A sentence for each key of a component, including those of all of its kind.

    A parameter is described in the docstring of the factory, or of the class's `__init__`. What
    several components share, such as `Probability`, is described once, with its type.
    """
    fields = entry.schema().model_fields
    found = {**field_texts(entry.schema()), "name": entry.summary}
    for doc in _docstrings(entry):
        found |= _described(doc, set(fields))
    return found


def prose(entry: Entry) -> list[str]:
    """The paragraphs of a component's docstring after the first, without parameters and errors."""
    doc = (inspect.getdoc(entry.factory) or "").partition("\n")[2]
    kept: list[str] = []
    for paragraph in re.split(r"\n\s*\n", doc.strip("\n")):
        first = _PARAMETER.match(paragraph)
        if _SECTION.match(paragraph):
            break
        if paragraph.strip() and not (first and first[1] in entry.parameters):
            kept.append(paragraph)
    return kept


def _docstrings(entry: Entry) -> list[str]:
    """The docstrings that may describe parameters, in rising priority."""
    docs = [inspect.getdoc(entry.factory)]
    if inspect.isclass(entry.factory):
        owners = [c for c in reversed(entry.factory.__mro__) if "__init__" in vars(c)]
        docs = [*(inspect.getdoc(vars(owner)["__init__"]) for owner in owners), *docs]
    return [doc for doc in docs if doc]


def _described(doc: str, known: set[str]) -> dict[str, str]:
    """The `name: text` entries of a docstring whose names are known."""
    found: dict[str, str] = {}
    name = ""
    for line in doc.splitlines():
        if (match := _PARAMETER.fullmatch(line)) and match[1] in known:
            name = match[1]
            found[name] = match[2]
        elif line.startswith("    ") and name:
            found[name] += f" {line.strip()}"
        else:
            name = ""
    return found


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """A description of each field of a class of options: the docstring below it, on one line."""
    return {
        name: " ".join(field.description.split())
        for name, field in model.model_fields.items()
        if field.description
    }
