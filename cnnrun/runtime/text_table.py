"""Tables of text, their columns under one another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cnnrun.runtime.printable import printable


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table; columns whose numbers are in `right` end under one another.

    rows: all of one length, the header first where there is one.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
