"""A confusion matrix as SVG: numbers where there is room, all of them on hover."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """How many of each true class (rows) were taken for each; shades are shares of the row."""
    count = len(classes)
    cell = max(6, min(44, 620 // count))
    few = count <= 20
    # Names are written where there is room; the cells say all of them on hover.
    left = 12 + (min(160, 8 * max(map(len, classes))) if few else 30)
    top = left + 8 if few else 30
    size = count * cell
    parts = []
    for row, counts in enumerate(matrix):
        total = sum(counts)
        for column, number in enumerate(counts):
            if number:
                parts.append(_confused(row, column, number, total, classes, cell, left, top, few))
    frame = f'<rect class="frame" x="{left}" y="{top}" width="{size}" height="{size}"/>'
    names = [_class_name(k, name, cell, left, top) for k, name in enumerate(classes)] if few else []
    label = escape(
        f"Confusion matrix of {count} classes: rows are the true classes, columns the predicted "
        "ones; the table of classes below has the figures.",
        quote=True,
    )
    return (
        f"<figure><figcaption>Rows are true classes, columns predicted ones.</figcaption>"
        f'<div class="wide" tabindex="0" role="region" aria-label="Confusion matrix">'
        f'<svg class="confusion" width="{left + size + 4}" height="{top + size + 4}" role="img" '
        f'aria-label="{label}">{frame}{"".join(parts)}{"".join(names)}</svg></div></figure>'
    )


def _confused(
    row: int,
    column: int,
    number: int,
    total: int,
    classes: Sequence[str],
    cell: int,
    left: int,
    top: int,
    few: bool,
) -> str:
    x, y, share = left + column * cell, top + row * cell, number / total
    kind = "right" if row == column else "wrong"
    title = f"{classes[row]} taken for {classes[column]}: {number} of {total}"
    opacity = f"{0.15 + 0.85 * share:.2f}"
    rect = (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{cell}" height="{cell}" '
        f'fill-opacity="{opacity}"><title>{escape(title)}</title></rect>'
    )
    if not few or cell < 24:
        return rect
    dark = " full" if share > 0.5 else ""
    at = f'x="{x + cell / 2}" y="{y + cell / 2 + 4}"'
    return f'{rect}<text class="count{dark}" {at} text-anchor="middle">{number}</text>'


def _class_name(k: int, name: str, cell: int, left: int, top: int) -> str:
    shown = escape(name if len(name) <= 20 else f"{name[:18]}…")
    middle = k * cell + cell / 2
    row = f'<text x="{left - 6}" y="{top + middle + 4}" text-anchor="end">{shown}</text>'
    x, y = left + middle + 4, top - 6
    return f'{row}<text x="{x}" y="{y}" transform="rotate(-90 {x} {y})">{shown}</text>'
