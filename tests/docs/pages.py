"""Pages of documentation as what a reader types: fenced blocks of commands and files.

* ```` ```console ````: lines that begin with `$ ` are commands (`> ` goes on with one), the others
  what they print, `...` stands for lines that are left out.
* ```` ```yaml title="mine.yaml" ````: a file of the reader's; so is Python. Without a title it is a
  part of one.
* ```` ```bash ````: commands that are not run; the tests list them all.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPOSITORY

_FENCE = re.compile(
    r"^( *)```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL
)

PAGES = sorted(
    [
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *(REPOSITORY / "docs").rglob("*.md"),
    ]
)


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    title: str | None
    raw: str
    indent: str

    @property
    def text(self) -> str:
        return re.sub(f"^{self.indent}", "", self.raw, flags=re.MULTILINE)


@dataclass
class Command:
    """What is typed at a prompt, and the lines that the page shows after it."""

    text: str
    shown: list[str] = field(default_factory=list)


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    for indent, language, title, raw in _FENCE.findall(page.read_text(encoding="utf-8")):
        yield Block(page, language, title or None, raw, indent)


def set_up(page: Path, folder: Path) -> None:
    """Write the files that a page's reader has: the examples, and those with a title."""
    shutil.copytree(REPOSITORY / "examples", folder / "examples", dirs_exist_ok=True)
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")


def all_blocks(language: str) -> list[Block]:
    return [b for page in PAGES for b in blocks(page) if b.language == language]


def commands(block: Block) -> list[Command]:
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.startswith("> "):
            found[-1].text += "\n" + line[2:]
        elif line.strip():
            found[-1].shown.append(line)
    return found


# What differs from machine to machine: numbers, the parts of a run's name, which epoch is best.
_VARIES = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}|-?\d[\d.,]*(e[-+]?\d+)?")


def alike(line: str) -> str:
    """A printed line without what differs from machine to machine."""
    return " ".join(_VARIES.sub(" # ", re.sub(r"\s+(best|chosen)$", "", line)).split())
