"""Finished epochs as text: self-contained lines, or rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnrun.metrics import Metric, described
from cnnrun.runtime.text_table import padded, width_of

_GAP = 2
_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class EpochRow:
    """A finished epoch.

    row: that of the log; `train_loss`, `validation_accuracy` and the like are shown. epochs: their
    total number. speed: images per second. seconds_left: estimate for the remaining epochs. seed:
    where several train together.
    """

    row: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    best_epoch: int
    epochs: int
    speed: float
    seconds_left: float
    seed: int | None = None

    @property
    def is_best(self) -> bool:
        # Without a validation split nothing chose between epochs.
        chosen = any(name.startswith("validation_") for name in self.row)
        return chosen and bool(self.best_epoch == self.row["epoch"])

    @property
    def cells(self) -> list[tuple[str, str, str]]:
        """(split, display name, value as text)."""
        found = []
        for key, value in self.row.items():
            split, _, name = key.partition("_")
            if split in _SPLITS:
                metric = described(name, self.metrics)
                found.append((split, metric.display_name, metric.text(value)))
        return sorted(found, key=lambda column: _SPLITS.index(column[0]))

    def line(self) -> str:
        """For files, pipes and job logs."""
        numbers = "  ".join(map(" ".join, self.cells))
        skipped = f"  skipped {self.row['skipped']}" if self.row.get("skipped") else ""
        seed = "" if self.seed is None else f"seed {self.seed}  "
        return (
            f"{seed}epoch {self.row['epoch']:>{len(str(self.epochs))}}/{self.epochs}  {numbers}"
            f"{skipped}  {self.speed:,.0f} images/s  {duration(self.seconds_left)} left"
            f"{'  best' if self.is_best else ''}"
        )


@dataclass
class _Column:
    split: str
    name: str
    cell: str

    @property
    def width(self) -> int:
        return max(width_of(self.name), width_of(self.cell))


class EpochTable:
    """Rows under one header, no wider than the terminal: the least important columns go first."""

    def __init__(self, width: int) -> None:
        self._most = width
        self._widths: dict[tuple[str, str], int] = {}

    def lines(self, row: EpochRow) -> list[str]:
        """The row, with a header above the first one."""
        columns = _columns(row)
        if self._widths:
            return [self._row(columns, row)]
        self._choose(columns)
        return [*self._header(), self._row(columns, row)]

    def _choose(self, columns: list[_Column]) -> None:
        """Choose the columns that fit, in widths that later rows keep if they can."""
        kept = list(columns)
        best = _GAP + len("best")
        for column in _least_first(columns):
            if sum(c.width + _GAP for c in kept) - _GAP + best <= self._most:
                break
            kept.remove(column)
        self._widths = {(c.split, c.name): c.width for c in kept}

    def _header(self) -> list[str]:
        """Two lines: the splits, then their metrics."""
        over, under, last = "", "", ""
        for (split, name), width in self._widths.items():
            gap = " " * _GAP if under else ""
            if split != last and split:
                over = padded(over, width_of(under) + len(gap)) + split
            under += gap + padded(name, width, right=True)
            last = split
        return [over.rstrip(), under] if over.strip() else [under]

    def _row(self, columns: list[_Column], row: EpochRow) -> str:
        cells = {(c.split, c.name): c.cell for c in columns}
        found = (padded(cells.get(k, ""), w, right=True) for k, w in self._widths.items())
        text = (" " * _GAP).join(found)
        return f"{text}{' ' * _GAP}best" if row.is_best else text


def _columns(row: EpochRow) -> list[_Column]:
    columns = [] if row.seed is None else [_Column("", "seed", str(row.seed))]
    epochs = str(row.epochs)
    columns.append(_Column("", "epoch", f"{row.row['epoch']:>{len(epochs)}}/{epochs}"))
    columns += [_Column(*cell) for cell in row.cells]
    if row.row.get("skipped"):
        columns.append(_Column("", "skipped", str(row.row["skipped"])))
    columns.append(_Column("", "images/s", f"{row.speed:,.0f}"))
    columns.append(_Column("", "left", duration(row.seconds_left).rjust(8)))
    return columns


def _least_first(columns: list[_Column]) -> list[_Column]:
    """Columns that may be left out on a narrow terminal, in this order.

    The epoch, the validation loss and one more metric of the validation split stay.
    """
    scores = {
        split: [c for c in columns if c.split == split and c.name != "loss"] for split in _SPLITS
    }
    by_name = {column.name: column for column in columns}
    minor = [column for split in _SPLITS for column in reversed(scores[split][1:])]
    train = [column for column in reversed(columns) if column.split == "train"]
    return [by_name["images/s"], *minor, by_name["left"], *(c for c in train if c not in minor)]


def duration(seconds: float) -> str:
    """`42 s`, `3:07 min` or `2:05 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
