"""Text tables with aligned columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from cnnrun.runtime.printable import printable


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table; columns with indices in `right` are aligned right.

    rows: all of one length, the header first where there is one.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            padded(cell, width, number in right)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def width_of(text: str) -> int:
    """The columns that `text` takes on a terminal: two for an East Asian letter or an emoji."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # takes 13 ms, needless for plain tables

    return cell_len(text)


def padded(text: str, width: int, right: bool = False) -> str:
    """`text` padded to a number of columns, left- or right-aligned."""
    blank = " " * (width - width_of(text))
    return blank + text if right else text + blank


def fitted(text: str, width: int) -> str:
    """Text for people in lines of at most `width` columns, broken at spaces.

    What stands behind a name and a gap keeps its column. Rows of tables stay whole, and so do
    commands, which are copied.
    """
    return "\n".join(_fitted(line, width) for line in text.split("\n"))


def _fitted(line: str, width: int) -> str:
    if width_of(line) <= width:
        return line
    gaps = list(re.finditer(r"(?<=\S) {2,}(?=\S)", line))
    start = gaps[0].end() if gaps else len(line) - len(line.lstrip())
    indent = width_of(line[:start])
    if len(gaps) > 1 or indent > width / 2 or line.startswith("cnnrun ", start):
        return line
    return line[:start] + wrapped(line[start:].split(" "), width, indent)


def wrapped(items: Sequence[str], width: int, indent: int) -> str:
    """Items after spaces, in lines of at most `width` columns, all but the first indented.

    The first line has as much room as the others: its start is printed elsewhere.
    """
    lines = [""]
    for item in items:
        if lines[-1] and indent + width_of(f"{lines[-1]} {item}") > width:
            lines.append("")
        lines[-1] += f" {item}" if lines[-1] else item
    return f"\n{'':{indent}}".join(lines)
