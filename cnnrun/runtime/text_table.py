"""Text tables with aligned columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from cnnrun.runtime.printable import printable

_GAP = "  "
# Names are not cut below this: a table that is still too wide continues below.
_SHORTEST = 16
_room: ContextVar[int | None] = ContextVar("room", default=None)


@contextmanager
def within(room: int | None) -> Iterator[None]:
    """Within the block, tables take at most `room` columns; None: as many as they need."""
    token = _room.set(room)
    try:
        yield
    finally:
        _room.reset(token)


def columns(
    rows: Sequence[Sequence[str]], right: Collection[int] = (), names: Collection[int] = ()
) -> list[str]:
    """The lines of a table; columns with indices in `right` are aligned right.

    A table wider than its room (see `within`) has the texts in the columns `names` shortened, as
    long as different ones look different. What has no room even so follows in further tables, each
    with the first column: no number is cut.

    rows: all of one length, the header first where there is one.
    """
    by_column = [[printable(cell) for cell in cells] for cells in zip(*rows, strict=True)]
    room = _room.get()
    if room is None or _width(by_column) <= room:
        return _aligned(by_column, right)
    _shorten(by_column, names, room)
    lines: list[str] = []
    for part in _parts(by_column, room):
        moved = {place for place, number in enumerate(part) if number in right}
        lines += ["", *_aligned([by_column[number] for number in part], moved)]
    return lines[1:]


def _aligned(by_column: Sequence[Sequence[str]], right: Collection[int]) -> list[str]:
    widths = [max(map(width_of, cells)) for cells in by_column]
    return [
        _GAP.join(
            padded(cell, width, number in right)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*by_column, strict=True)
    ]


def _width(by_column: Sequence[Sequence[str]]) -> int:
    return sum(max(map(width_of, c)) + len(_GAP) for c in by_column) - len(_GAP)


def _shorten(by_column: list[list[str]], names: Collection[int], room: int) -> None:
    """Shorten the widest names until the table fits.

    If that would leave too little of them, only so far that each fits beside the first column.
    """
    widths = {number: max(map(width_of, by_column[number])) for number in names}
    least = {number: max(_SHORTEST, width_of(by_column[number][0])) for number in names}
    excess = _width(by_column) - room
    while excess > 0 and (long := [k for k in names if widths[k] > least[k]]):
        widths[max(long, key=widths.__getitem__)] -= 1
        excess -= 1
    half = (room - len(_GAP)) // 2
    for number, width in widths.items():
        by_column[number] = _shortened(by_column[number], half if excess > 0 else width)


def _shortened(texts: list[str], width: int) -> list[str]:
    """The texts in `width` columns, or in the fewest that keep different ones apart."""
    for most in range(width, max(map(width_of, texts))):
        found = [shortened(text, most) for text in texts]
        if len(set(found)) == len(set(texts)):
            return found
    return texts


def shortened(text: str, width: int) -> str:
    """The start and the end of a text that takes more than `width` columns."""
    if width_of(text) <= width:
        return text
    start, end = "", ""
    for taken in range(len(text)):
        half = taken // 2 + 1
        longer = (start, text[-half:]) if taken % 2 else (text[:half], end)
        if width_of("...".join(longer)) > width:
            break
        start, end = longer
    return f"{start}...{end}"


def _parts(by_column: Sequence[Sequence[str]], room: int) -> list[list[int]]:
    """The columns of each table; the first column is in all of them."""
    parts = [[0]]
    for number in range(1, len(by_column)):
        beside = [*parts[-1], number]
        if len(beside) > 2 and _width([by_column[k] for k in beside]) > room:
            beside = [0, number]
            parts.append(beside)
        parts[-1] = beside
    return parts


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

    What stands behind a name and a gap keeps its column, or gets a line of its own where it has no
    room there. Rows of tables stay whole, and so do commands, which are copied.
    """
    return "\n".join(_fitted(line, width) for line in text.split("\n"))


def _fitted(line: str, width: int) -> str:
    if width_of(line) <= width:
        return line
    gaps = list(re.finditer(r"(?<=\S) {2,}(?=\S)", line))
    start = gaps[0].end() if gaps else len(line) - len(line.lstrip())
    indent = width_of(line[:start])
    if len(gaps) > 1 or line.startswith("cnnrun ", start):
        return line
    items = line[start:].split(" ")
    if indent > width / 2 or (gaps and indent + max(map(width_of, items)) > width):
        own = f"  {wrapped(items, width, indent=2)}"
        return f"{line[: gaps[0].start()]}\n{own}" if gaps else line
    return line[:start] + wrapped(items, width, indent)


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
