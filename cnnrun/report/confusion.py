"""A confusion matrix as SVG with its numbers on hover, and the most confused pairs as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from cnnrun.report.page import isolated, sentences, table

MOST_CLASSES = 200
"""A matrix of more would fit no screen; the table of pairs stays."""

MOST_CELLS = 10_000
"""Drawn cells, those with the largest counts; more would make the page too large."""

MOST_PAIRS = 20

_SIDE, _LETTER, _LINE = 620, 8, 14  # pixels: the matrix, a letter's width, a line's height
_LONGEST = 20  # letters of a name

Matrix = Sequence[Sequence[int]]


def confusion(matrix: Matrix, classes: Sequence[str]) -> str:
    """How many of each true class (rows) were taken for each; shades are shares of the row."""
    if len(classes) > MOST_CLASSES:
        note = f"A matrix of {len(classes):,} classes is not drawn; these are its largest errors."
        return sentences([note]) + _pairs(matrix, classes)
    return _Drawing(matrix, classes).html() + _pairs(matrix, classes)


def _errors(matrix: Matrix) -> list[tuple[int, int, int]]:
    """(count, row, column) off the diagonal, the largest first."""
    found = [(n, r, c) for r, row in enumerate(matrix) for c, n in enumerate(row) if n and r != c]
    return sorted(found, key=lambda error: (-error[0], *error[1:]))


def _pairs(matrix: Matrix, classes: Sequence[str]) -> str:
    errors = _errors(matrix)
    if not errors:
        return sentences(["No class was taken for another."])
    rows = []
    for count, row, column in errors[:MOST_PAIRS]:
        share = count / sum(matrix[row])
        rows.append([classes[row], classes[column], count, (share, f"{100 * share:.1f} %")])
    more = f", {MOST_PAIRS} of {len(errors):,} pairs" if len(errors) > MOST_PAIRS else ""
    head = ["true class", "taken for", "images", "share of the class"]
    return table(f"Most confused{more}", head, rows)


@dataclass(frozen=True)
class _Drawing:
    matrix: Matrix
    classes: Sequence[str]

    @property
    def cell(self) -> int:
        return max(3, min(44, _SIDE // len(self.classes)))

    @property
    def side(self) -> int:
        return self.cell * len(self.classes)

    @property
    def names(self) -> list[str]:
        return [n if len(n) <= _LONGEST else f"{n[: _LONGEST - 2]}…" for n in self.classes]

    @property
    def edge(self) -> int:
        """Left of the matrix and above it: the names, and the axis' title."""
        return _LINE + 16 + _LETTER * max(map(len, self.names))

    def html(self) -> str:
        size = self.edge + self.side + 4
        label = escape(
            f"Confusion matrix of {len(self.classes)} classes: rows are the true classes, columns "
            "the predicted ones. The tables below have the figures.",
            quote=True,
        )
        left_out = sum(bool(n) for row in self.matrix for n in row) - MOST_CELLS
        note = f" The {left_out:,} smallest counts are not drawn." if left_out > 0 else ""
        return (
            "<figure><figcaption>Rows are true classes, columns predicted ones; the stronger a "
            f"cell, the larger its share of the row.{note}</figcaption>"
            '<div class="wide" tabindex="0" role="region" aria-label="Confusion matrix">'
            f'<svg class="confusion" width="{max(size, self.edge + 90)}" '
            f'height="{max(size, self.edge + 90)}" role="img" aria-label="{label}">'
            f"{self._titles()}{''.join(self._cells())}{self._frame()}{''.join(self._names())}</svg>"
            f'</div><ul class="legend">{_sample("right")}right{_END}{_sample("wrong")}wrong{_END}'
            "</ul></figure>"
        )

    def _titles(self) -> str:
        x = y = self.edge
        return (
            f'<text x="{x}" y="{_LINE}">predicted →</text>'
            f'<text x="{_LINE}" y="{y}" transform="rotate(90 {_LINE} {y})" dy="4">true →</text>'
        )

    def _frame(self) -> str:
        at = f'x="{self.edge}" y="{self.edge}" width="{self.side}" height="{self.side}"'
        return f'<rect class="frame" {at}/>'

    def _cells(self) -> Iterator[str]:
        cells = [(n, r, c) for r, row in enumerate(self.matrix) for c, n in enumerate(row) if n]
        for count, row, column in sorted(cells, reverse=True)[:MOST_CELLS]:
            yield self._one(count, row, column)

    def _one(self, count: int, row: int, column: int) -> str:
        cell, total = self.cell, sum(self.matrix[row])
        x, y = self.edge + column * cell, self.edge + row * cell
        kind = "right" if row == column else "wrong"
        true, said = isolated(self.classes[row]), isolated(self.classes[column])
        title = f"{true} taken for {said}: {count} of {total}"
        rect = (
            f'<rect class="{kind}" x="{x}" y="{y}" width="{cell}" height="{cell}" '
            f'style="--share:{count / total:.2f}"><title>{escape(title)}</title></rect>'
        )
        if cell < max(24, _LETTER * len(str(count)) + 4):
            return rect
        at = f'x="{x + cell / 2}" y="{y + cell / 2 + 4}"'
        return f'{rect}<text class="count" {at} text-anchor="middle">{count}</text>'

    def _names(self) -> Iterator[str]:
        """Beside the rows and above the columns, of every so many that they can be read."""
        for k in range(0, len(self.names), math.ceil(_LINE / self.cell)):
            name, middle = escape(self.names[k]), self.edge + k * self.cell + self.cell / 2
            near = self.edge - 6
            yield f'<text x="{near}" y="{middle + 4}" text-anchor="end">{name}</text>'
            x = middle + 4
            yield f'<text x="{x}" y="{near}" transform="rotate(-90 {x} {near})">{name}</text>'


def _sample(kind: str) -> str:
    return (
        '<li><svg width="34" height="12" aria-hidden="true">'
        + "".join(
            f'<rect class="{kind}" style="--share:{share}" x="{x}" width="11" height="12"/>'
            for x, share in ((0, 0.1), (11, 0.5), (22, 1))
        )
        + "</svg>"
    )


_END = "</li>"
