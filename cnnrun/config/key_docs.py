"""What the source says about each YAML key: docstrings of fields, lines of factories' docstrings.

For `cnnrun schema` (an editor's hover text) and the comments that `cnnrun new` writes.
"""

from __future__ import annotations

import inspect
import re

from pydantic import BaseModel

from cnnrun.registry import Entry

# `noise: of the inputs alone` or `probe_labels, probe_seeds: how ...`, as docstrings have them.
_PARAMETERS = re.compile(r"(\w+(?:, \w+)*): (.*)")


def entry_texts(entry: Entry) -> dict[str, str]:
    """A text for each parameter of a component that its docstring describes."""
    docs = [inspect.getdoc(entry.factory)]
    if inspect.isclass(entry.factory):
        classes = entry.factory.__mro__
        docs = [
            inspect.getdoc(vars(c)["__init__"]) for c in reversed(classes) if "__init__" in vars(c)
        ] + docs
    known = set(entry.parameters)
    found: dict[str, str] = {}
    for doc in filter(None, docs):
        found |= {k: text for k, text in _described(doc).items() if k in known}
    return found


def _described(doc: str) -> dict[str, str]:
    """The `name: text` entries of a docstring; lines that are indented more go on with them."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in doc.splitlines():
        if match := _PARAMETERS.fullmatch(line):
            names = match[1].split(", ")
            found.update(dict.fromkeys(names, match[2]))
        elif line.startswith("    ") and names:
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
        else:
            names = []
    return found


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """A text for each field of a class of options: the docstring below it, in one line."""
    return {
        name: " ".join(field.description.split())
        for name, field in model.model_fields.items()
        if field.description
    }
