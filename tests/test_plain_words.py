"""Messages, help, key texts, docstrings and comments are plain English in the field's terms."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

import cnnrun
from cnnrun.cli import app
from cnnrun.config.words import TABLE
from tests.config.test_key_texts import keys
from tests.conftest import REPOSITORY

# What an engineer would not say aloud, and what to say instead.
DISCOURAGED = {
    r"\bgo(?:es|ing)? on\b|\bwent on\b": "resume, continue",
    r"\bbegins?\b|\bbegan\b|\bbegun\b": "start",
    r"\bpass(?:ed|es) over\b|\bto pass over\b": "skip",
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
# Of what users read, not yet of docstrings and comments.
DISCOURAGED_IN_TEXTS = DISCOURAGED | {
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer|more |faster)": "is not a ...",
    r"\b(?:is|are) meant\b": "expected ...",
    r"\btaken for\b": "classified as, read as",
    r"\bsay (?:so )?by\b": "set KEY to ...",
    r"\bstands? (?:there|here)\b": "is listed, appears",
    r"\bcan't be had\b": "is not available, does not work with",
    r"\bparted\b": "divided",
    r"\bturned by\b|\benlarged?\b": "rotated, scaled, upsampled",
    r"\bbeside\b": "with, next to, in addition to",
    r"[;:] take ": "use",
    r"\bbut for\b": "except for",
    r"\bsomething else than\b": "something other than",
    r"\b(?:no|some)body\b|\bwhoever\b": "unknown; the user",
    r"\ba little too (?:good|well)\b": "slightly optimistic",
    r"\b(?:class|label|value|row|number|MACs|outputs?) an? (?:image|class|sample|pixel)\b": "per",
}
# `one number a sample` is `one number per sample`.
_ONE = "number|loss|row|lines?|labels?|value|panel|point|axis|product|matrix|entry|prediction"
_EACH = "epoch|sample|image|step|layer|group|split|setting|variant|trial|fold|process|block|pixel"
# The same of docstrings and comments, which also had habits of their own.
DISCOURAGED_IN_PROSE = DISCOURAGED | {
    r"\b(?:told|tells?)\b": "report, warn, notify, distinguish",
    r"\b(?:some|no|any)body\b": "another user, an unknown ...",
    r"\bwhoever\b": "the caller, the user",
    r"\bin the place of\b": "instead of",
    r"\bin words\b": "as text",
    r"\bof one's own\b": "your own, the user's own",
    r"\b(?:can't|can|could|may) be had\b": "is available, can be downloaded",
    r"\bas (?:they are|it is)(?=[.,;:)]|$)": "unchanged",
    r"\bas (?:[a-z]+ )*as (?:a|the) page bears\b": "as fit",
    r"\b(?:is|are|was|were) no numbers?\b": "is NaN",
    r"\bin the midst\b|\bin silence\b": "during, silently",
    rf"\b(?:{_ONE}) an? (?:{_EACH})\b": "per",
}
PACKAGE = Path(cnnrun.__file__).parent
PROSE = [*PACKAGE.rglob("*.py")] + [
    file
    for folder in ("examples", "benchmarks", "docs_build")
    for file in (REPOSITORY / folder).rglob("*.py")
]


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


@pytest.mark.parametrize("pattern", list(DISCOURAGED_IN_TEXTS))
def test_no_text_reads_as_translated(pattern: str) -> None:
    assert len(texts()) > 3000
    found = [(place, text) for place, text in texts() if re.search(pattern, text)]
    assert found == [], DISCOURAGED_IN_TEXTS[pattern]


def _prose(file: Path) -> Iterator[tuple[str, str]]:
    """The docstrings of a file, and its comments, those on successive lines as one text."""
    text = file.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield f"{file.name}:{value.lineno}", " ".join(value.value.split())
    comment, last = "", 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            joined = token.start[0] == last + 1
            comment = (
                f"{comment} {token.string[1:].strip()}" if joined else token.string[1:].strip()
            )
            last = token.start[0]
            yield f"{file.name}:{last}", comment


@cache
def prose() -> list[tuple[str, str]]:
    code = re.compile(r"`[^`]*`")
    return [(place, code.sub("`", text)) for file in PROSE for place, text in _prose(file)]


@pytest.mark.parametrize("pattern", list(DISCOURAGED_IN_PROSE))
def test_no_docstring_or_comment_reads_as_translated(pattern: str) -> None:
    assert len(prose()) > 3000
    found = [(place, text) for place, text in prose() if re.search(pattern, text)]
    assert found == [], DISCOURAGED_IN_PROSE[pattern]


def test_habits_of_prose_are_found() -> None:
    """So that a pattern with a mistake in it does not hold nothing."""
    text = (
        "One number a sample is told to nobody; whoever asks gets it in words, as it is. "
        "It can't be had in the place of one's own, begins anew, goes on."
    )
    caught = [pattern for pattern in DISCOURAGED_IN_PROSE if re.search(pattern, text)]
    assert len(caught) == 12
