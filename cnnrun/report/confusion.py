"""A confusion matrix as SVG with its numbers on hover, and the most confused pairs as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from cnnrun.report.page import render, sentences, table

MOST_CLASSES = 200
"""A matrix of more would fit no screen; the table of pairs stays."""

MOST_CELLS = 10_000
"""Drawn cells, those with the largest counts; more would make the page too large."""

MOST_PAIRS = 20

_SIDE, _LETTER, _LINE = 620, 8, 14  # pixels: the matrix, a letter's width, a line's height
_LONGEST = 20  # letters of a name

Matrix = Sequence[Sequence[int]]


def confusion(matrix: Matrix, classes: Sequence[str]) -> Markup:
    """How many of each true class (rows) were taken for each; shades are shares of the row."""
    if len(classes) > MOST_CLASSES:
        note = f"A matrix of {len(classes):,} classes is not drawn; these are its largest errors."
        return sentences([note]) + _pairs(matrix, classes)
    return _drawing(matrix, classes) + _pairs(matrix, classes)


def _errors(matrix: Matrix) -> list[tuple[int, int, int]]:
    """(count, row, column) off the diagonal, the largest first."""
    found = [(n, r, c) for r, row in enumerate(matrix) for c, n in enumerate(row) if n and r != c]
    return sorted(found, key=lambda error: (-error[0], *error[1:]))


def _pairs(matrix: Matrix, classes: Sequence[str]) -> Markup:
    errors = _errors(matrix)
    if not errors:
        return sentences(["No image was misclassified."])
    rows = []
    for count, row, column in errors[:MOST_PAIRS]:
        share = count / sum(matrix[row])
        rows.append([classes[row], classes[column], count, (share, f"{100 * share:.1f} %")])
    more = f", {MOST_PAIRS} of {len(errors):,} pairs" if len(errors) > MOST_PAIRS else ""
    head = ["true class", "predicted class", "images", "share of the class"]
    return table(f"Most confused{more}", head, rows)


def _drawing(matrix: Matrix, classes: Sequence[str]) -> Markup:
    names = [n if len(n) <= _LONGEST else f"{n[: _LONGEST - 2]}…" for n in classes]
    cell = max(3, min(44, _SIDE // len(classes)))
    side = cell * len(classes)
    # Left of the matrix and above it: the names, and the axis' title.
    edge = _LINE + 16 + _LETTER * max(map(len, names))
    counts = [(n, r, c) for r, row in enumerate(matrix) for c, n in enumerate(row) if n]
    cells = [
        {
            "x": edge + column * cell,
            "y": edge + row * cell,
            "true": classes[row],
            "said": classes[column],
            "is_right": row == column,
            "count": count,
            "total": sum(matrix[row]),
            "fits": cell >= max(24, _LETTER * len(str(count)) + 4),
        }
        for count, row, column in sorted(counts, reverse=True)[:MOST_CELLS]
    ]
    return render(
        "confusion.html",
        names=names,
        every=math.ceil(_LINE / cell),  # of so many names one can be read
        cells=cells,
        left_out=len(counts) - len(cells),
        cell=cell,
        side=side,
        edge=edge,
        line=_LINE,
        size=edge + max(side + 4, 90),
    )
