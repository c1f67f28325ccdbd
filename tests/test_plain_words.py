"""Messages, help and key texts are plain English in the field's terms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

import cnnrun
from cnnrun.cli import app
from cnnrun.config.words import TABLE
from tests.config.test_key_texts import keys

# What an engineer would not say aloud, and what to say instead.
DISCOURAGED = {
    r"\bgo(?:es|ing)? on\b|\bwent on\b": "resume, continue",
    r"\bbegins?\b|\bbegan\b|\bbegun\b": "start",
    r"\bpass(?:ed|es)? over\b": "skip",
    r"\bby (?:itself|themselves)\b": "automatically, alone",
    r"\b(?:rightly|wrongly)\b": "correctly classified, misclassified",
    r"\btold (?:apart|of)\b|\btells? (?:apart|nothing|rightly|wrongly)\b": "distinguish, say",
    r"\blearnt\b": "learned",
    r"\bpictures?\b": "image (data), plot (drawn)",
    r"\bthere already\b": "already exists",
    r"\banew\b": "again",
    r"\bnothing is wrong\b": "no problems found",
    r"\bturned digits\b": "rotated digits",
    r"\bmadds\b": "MACs",
    r"\bwished\b": "wanted",
}
PACKAGE = Path(cnnrun.__file__).parent


def _strings(file: Path) -> Iterator[tuple[str, str]]:
    """What a file may print: its strings of several words that are no docstrings."""
    tree = ast.parse(file.read_text("utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text and id(node) not in documentation:
            yield f"{file.name}:{node.lineno}", text


@cache
def texts() -> list[tuple[str, str]]:
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for file in PACKAGE.rglob("*.py"):
        yield from _strings(file)
    for owner, key, text, _ in keys():
        yield f"{owner}.{key}", text
    for number, line in enumerate(TABLE.read_text("utf-8").splitlines()):
        yield f"words.txt:{number + 1}", "" if line.startswith("#") else line.split("|")[-1]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield name, f"{command.help} {command.epilog}"
        for parameter in command.params:
            yield f"{name} {parameter.name}", getattr(parameter, "help", "") or ""


@pytest.mark.parametrize("pattern", list(DISCOURAGED))
def test_no_text_reads_as_translated(pattern: str) -> None:
    assert len(texts()) > 3000
    found = [(place, text) for place, text in texts() if re.search(pattern, text)]
    assert found == [], DISCOURAGED[pattern]
