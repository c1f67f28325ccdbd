"""`docs/reference/components.md`: everything that can be named in an experiment."""

from __future__ import annotations

import re

from cnnrun.config.key_docs import parameter_texts, prose
from cnnrun.registry import KINDS, Entry, Registry
from docs_build.tables import keys_table

_HEAD = """\
# Components

Everything that can be named in an experiment, with its parameters. Made from the code by
`make docs`; `cnnrun list` prints the same, your own components included. Keys that all data sets
and all schedules have are on the page of the [config file](config.md).
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for registry in KINDS.values():
        parts += [f"## {registry.kind}", "", *_summaries(registry), ""]
        for name in registry.names():
            parts += _component(registry.get(name))
    return "\n".join(parts)


def _anchor(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name.removesuffix('/*')}"


def _summaries(registry: Registry) -> list[str]:
    entries = [registry.get(name) for name in registry.names()]
    rows = [f"| [`{e.name}`](#{_anchor(e)}) | {_prose(e.summary)} |" for e in entries]
    return ["| name | |", "|---|---|", *rows]


def _component(entry: Entry) -> list[str]:
    texts = parameter_texts(entry)
    fields = entry.schema().model_fields
    own = {name: fields[name] for name in entry.parameters}
    lines = [f"### {entry.name} {{: #{_anchor(entry)} }}", "", _prose(entry.summary), ""]
    for paragraph in prose(entry):
        lines += [_prose(paragraph), ""]
    return lines + ([*keys_table(own, texts), ""] if own else [])


def _prose(text: str) -> str:
    """Text as it is: no part of it is Markdown but what stands between backquotes."""
    parts = text.split("`")
    plain = [re.sub(r"([*_<|\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts)
