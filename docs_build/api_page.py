"""`docs/reference/api.md`: the Python API, from its signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from cnnrun import api
from docs_build.tables import cell

_HEAD = """\
# Python API

Everything that `cnnrun` exports for scripts and notebooks, made from the docstrings. [Use cnnrun from
Python](../howto/python.md) shows it at work. Mistakes raise `cnnrun.UserError` (`ConfigError` for a config)
with the message that the command line would print.

```python
from cnnrun import ConfigError, UserError, evaluate, load_model, load_run, train
```
"""
_FUNCTIONS = ("train", "evaluate", "load_run", "load_model")
_CLASSES = ("Run", "TrainedModel")
_PARAMETER = re.compile(r"(\w+(?:, \w+)*): (.*)", re.DOTALL)


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for name in _FUNCTIONS:
        parts += _described(name, getattr(api, name), "##")
    for name in _CLASSES:
        parts += [f"## {name}", "", *_text(inspect.getdoc(getattr(api, name)) or "")]
        for member, found in vars(getattr(api, name)).items():
            documented = inspect.isfunction(found) or isinstance(found, property)
            if documented and (not member.startswith("_") or member == "__call__"):
                parts += _described(member, found, "###")
    return "\n".join(parts)


def _described(name: str, found: Any, level: str) -> list[str]:
    if isinstance(found, property):
        signature = f"{name}: {inspect.signature(found.fget).return_annotation}"  # type: ignore[arg-type]
        doc = inspect.getdoc(found)
    else:
        signature, doc = _signature(name, found), inspect.getdoc(found)
    heading = f"{level} {name}" if name != "__call__" else f"{level} Calling it"
    return [heading, "", "```python", signature, "```", "", *_text(doc or "")]


def _signature(name: str, function: Callable[..., Any]) -> str:
    """As the source has it, a line for each parameter where it is long."""
    signature = inspect.signature(function)
    kept = [p for p in signature.parameters.values() if p.name != "self"]
    bare = signature.replace(parameters=kept)
    text = f"{name}{bare}".replace("'", "")
    for quoted in (p.default for p in kept if isinstance(p.default, str)):
        text = text.replace(f"= {quoted}", f'= "{quoted}"')
    if len(text) < 90:
        return text
    inside, _, returned = text.partition("(")[2].rpartition(") -> ")
    pieces = re.split(r", (?=[*\w]+(?::|,|$))", inside)
    return "\n".join([f"{name}(", *(f"    {piece}," for piece in pieces), f") -> {returned}"])


def _text(doc: str) -> Iterator[str]:
    """Prose unchanged; `name: text` lines as a table; what is returned and raised after it."""
    for paragraph in re.split(r"\n\s*\n", doc):
        if paragraph.startswith("Raises:"):
            yield from ("**Raises**", "", *_table(paragraph.partition("\n")[2], "error"), "")
        elif paragraph.startswith("Returns:"):
            yield from ("**Returns** " + " ".join(paragraph.removeprefix("Returns:").split()), "")
        elif _is_table(paragraph):
            rows, _, returned = paragraph.partition("\nReturns:")
            yield from (*_table(rows, "parameter"), "")
            if returned:
                yield from ("**Returns** " + " ".join(returned.split()), "")
        elif paragraph.startswith("    "):
            yield from ("```python", inspect.cleandoc(paragraph), "```", "")
        else:
            yield from (paragraph, "")


def _is_table(paragraph: str) -> bool:
    return bool(re.match(r"[a-z_]+(, [a-z_]+)*: ", paragraph))


def _table(text: str, what: str) -> Iterator[str]:
    yield f"| {what} | |"
    yield "|---|---|"
    for entry in re.split(r"\n(?=\S)", inspect.cleandoc(text)):
        if match := _PARAMETER.fullmatch(entry):
            names = ", ".join(f"`{name}`" for name in match[1].split(", "))
            yield f"| {names} | {cell(' '.join(match[2].split()))} |"
