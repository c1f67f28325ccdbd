"""Tables of keys, and Markdown that stays what it says inside a cell."""

from __future__ import annotations

from html import escape
from typing import Any

from pydantic.fields import FieldInfo

from cnnrun.config.listing import plain, type_text


def keys_table(fields: dict[str, FieldInfo], texts: dict[str, str]) -> list[str]:
    """A row for each YAML key: its type, its default and what it means."""
    rows = [
        f"| `{key}` | {cell(type_text(field))} | {default(field)} | {cell(texts.get(key, ''))} |"
        for key, field in fields.items()
    ]
    return ["| key | type | default | |", "|---|---|---|---|", *rows]


def default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{value(plain(field.default))}`"


def value(given: Any) -> str:
    """A default as YAML has it."""
    if given is None:
        return "null"
    return str(given).lower() if isinstance(given, bool) else str(given)


def code(text: str) -> str:
    """Code in a table; `\\|` would show its backslash there."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def cell(text: str) -> str:
    """Text in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("*", "\\*")
