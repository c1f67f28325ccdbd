"""What a row of a csv file says of its image."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cnnrun.data.sources.listed_names import class_name
from cnnrun.data.sources.listed_targets import OneClass, Reading, SeveralLabels, SomeValues
from cnnrun.data.sources.mask_files import MaskFiles
from cnnrun.data.sources.mask_pixels import MaskClasses
from cnnrun.errors import UserError

# Values that mean that an image has a label, and that it has not.
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "-1", "false", "no")


class BadRowError(UserError):
    """A row that can't be used, and no other is wrong for it; the message has no place."""


@dataclass(frozen=True)
class Answer:
    """Which columns describe an image's targets, and how their cells are read.

    read: (folder, cells by column) to what `reading` takes; None for empty cells. It raises
    `BadRowError`, or `UserError` for what is wrong with the whole table.
    """

    columns: tuple[str, ...]
    words: str
    read: Callable[[Path, dict[str, str]], Any]
    reading: Reading


def answer_of(
    label: str,
    separator: str | None,
    label_columns: list[str] | None,
    value_columns: list[str] | None,
    mask: str | None,
    mask_classes: MaskClasses,
) -> Answer:
    """The one that the data set's keys select.

    Raises:
        UserError: they select several.
    """
    given = {
        "label_separator": separator,
        "label_columns": label_columns,
        "value_columns": value_columns,
        "mask_column": mask,
    }
    several = [key for key, value in given.items() if value is not None]
    for key, names in (("label_columns", label_columns), ("value_columns", value_columns)):
        if names is not None and len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{key}: '{twice}' is listed twice")
    if len(several) > 1:
        raise UserError(f"{several[1]}: {several[0]} already names the target; leave one out")
    if mask_classes is not None and mask is None:
        raise UserError("mask_classes: they are of masks; name their column (mask_column)")
    if separator is not None:
        return Answer(
            (label,), f"a {label}", partial(_labels_in, label, separator), SeveralLabels()
        )
    if label_columns is not None:
        columns, reading = tuple(label_columns), SeveralLabels(list(label_columns))
        return Answer(columns, "labels", _Marked(columns), reading)
    if value_columns is not None:
        columns = tuple(value_columns)
        return Answer(columns, "values", partial(_numbers, columns), SomeValues(list(columns)))
    if mask is not None:
        return Answer((mask,), f"a {mask}", partial(_mask, mask), MaskFiles(mask_classes))
    return Answer((label,), f"a {label}", partial(_class, label), OneClass())


def _class(column: str, _folder: Path, cells: dict[str, str]) -> str | None:
    return class_name(cells[column]) if cells[column] else None


def _labels_in(column: str, separator: str, _folder: Path, cells: dict[str, str]) -> list[str]:
    return [class_name(name.strip()) for name in cells[column].split(separator) if name.strip()]


class _Marked:
    """Reads which of the columns say that an image has their label."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._no: dict[str, str] = {}  # what has said by now that an image lacks a column's label

    def __call__(self, _folder: Path, cells: dict[str, str]) -> list[str] | None:
        marks = {column: cells[column].lower() for column in self._columns}
        if not all(marks.values()):
            return None
        for column, mark in marks.items():
            if mark not in _YES + _NO:
                raise BadRowError(f"{column} is '{mark}'; expected 1 or 0")
            no = self._no.setdefault(column, mark) if mark in _NO else mark
            if mark in _NO and (no == "-1") != (mark == "-1"):
                raise UserError(
                    f"{column} has both -1 and 0; if -1 means unknown, leave "
                    "the cell empty, and if both mean no, write 0"
                )
        return [column for column, mark in marks.items() if mark in _YES]


def _numbers(columns: tuple[str, ...], _folder: Path, cells: dict[str, str]) -> list[float] | None:
    found = []
    for column in columns:
        if not cells[column]:
            return None
        try:
            number = float(cells[column])
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or "_" in cells[column]:  # which Python reads as a number
            message = f"{column} is '{cells[column]}'; expected a number such as 1.5"
            raise BadRowError(f"{message}, or an empty cell where it is not known")
        found.append(number)
    return found


def _mask(column: str, folder: Path, cells: dict[str, str]) -> str | None:
    return image_path(folder, cells[column]) if cells[column] else None


def image_path(folder: Path, text: str) -> str:
    """`text` as a path from `folder`; tables written on Windows have backslashes."""
    for name in (text, text.replace("\\", "/")):
        path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each row is slow)
        if os.path.isfile(path):  # noqa: PTH113
            return path
    raise BadRowError(f"there is no file {text} (paths are from {folder.absolute()})")
