"""Writes what commands print into pages: `python -m tests.docs README.md docs/tutorial.md`.

Where a page leaves lines out (`...`), as many as before stay above and below; where it does so
several times, the lines that it shows are found again.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import Command, alike, blocks, commands, set_up
from tests.docs.session import type_in
from tests.quick_shell import quick_cnnrun


def refreshed(shown: list[str], output: str) -> list[str]:
    """The lines of `output` that take the place of `shown`."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    if "..." not in shown:
        return lines if shown else []
    if shown.count("...") > 1:
        return list(_found_again(shown, lines))
    above = shown.index("...")
    below = len(shown) - above - 1
    if len(lines) <= above + below:
        return lines
    return [*lines[:above], "...", *lines[len(lines) - below :]]


def _found_again(shown: list[str], lines: list[str]) -> Iterator[str]:
    """The lines that are shown between several `...`, with today's numbers where there are any."""
    rest = iter(lines)
    for line in shown:
        same = (new for new in rest if alike(new) == alike(line))
        yield line if line == "..." else next(same, line)


def refresh(page: Path, path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    consoles = [block for block in blocks(page) if block.language == "console"]
    typed: list[list[Command]] = [commands(block) for block in consoles]
    with tempfile.TemporaryDirectory() as folder:
        set_up(page, Path(folder))
        flat = [command.text for session in typed for command in session]
        outputs = iter(type_in(flat, Path(folder), path))
    for block, session in zip(consoles, typed, strict=True):
        lines: list[str] = []
        for command in session:
            lines += ["$ " + command.text.replace("\n", "\n> ")]
            lines += refreshed(command.shown, next(outputs)[1])
        new = "".join(f"{block.indent}{line}\n" for line in "\n".join(lines).split("\n"))
        text = text.replace(block.raw, new.replace(f"{block.indent}\n", "\n"), 1)
    page.write_text(text, encoding="utf-8")


with tempfile.TemporaryDirectory() as quick, quick_cnnrun(Path(quick)) as found:
    for name in sys.argv[1:]:
        refresh(Path(name).resolve(), found)
        print(name)
