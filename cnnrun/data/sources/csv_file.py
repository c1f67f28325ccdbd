"""A table of image files and their classes."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.labelled_files import Amount, Listing, labelled_dataset
from cnnrun.data.sources.listed_names import class_name, listed
from cnnrun.data.sources.listed_targets import OneClass, Reading, SeveralLabels, SomeValues
from cnnrun.data.sources.mask_files import MaskClasses, MaskFiles
from cnnrun.data.sources.split_names import split_named
from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import TABLE_BYTES, UnusableFileError, open_regular

# Characters shown of a column's name; and the number of numbered columns that make it no table of
# files.
_LONGEST = 30
_PIXELS = 60

# Values that mean that an image has a label, and that it has not.
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "-1", "false", "no")

Columns = Annotated[list[str], Field(min_length=1)]


@datasets.register("csv")
def csv_file(
    options: ImageOptions,
    *,
    file: str,
    path_column: str = "path",
    image_folder: str | None = None,
    extension: str = "",
    label_column: str = "label",
    split_column: str = "split",
    group_column: str = "group",
    label_separator: Annotated[str, Field(min_length=1)] | None = None,
    label_columns: Columns | None = None,
    value_columns: Columns | None = None,
    mask_column: str | None = None,
    mask_classes: MaskClasses = None,
    test: Amount = 0.2,
) -> Dataset:
    """A CSV file with the columns path and label, and optionally split or group.

    Columns are separated by commas, semicolons or tabs. A label is the name of a class, or a
    number, which is a name too.

    Each file's own name (or group) decides which split it is in, so adding or removing rows does
    not move it, and every class keeps a training image.

    file: The CSV file, with a header; paths in it start at its folder.
    path_column: Column of the image files.
    image_folder: Folder of the images, if it isn't the file's.
    extension: Added to each cell of `path_column` if it names files without one: `.jpg`.
    label_column: Column of the classes; rows without one are left out.
    split_column: Column that says train, val (or valid, validation) or test, if there is one.
    group_column: Column of what images come from, e.g. a patient or a video, if there is one; a
        group is never divided between splits.
    label_separator: Separator of several labels in a cell, such as `|` or a space (task:
        multilabel).
    label_columns: Columns that are 1 where an image has the label of that name, else 0.
    value_columns: Columns of numbers (task: regress); rows without one are left out.
    mask_column: Column of the mask files (task: segment), 8-bit gray or with a palette, whose pixel
        values are classes; 255 is ignored.
    mask_classes: Names of the pixel values 0, 1, ..., or of any values, e.g. {0: ground, 255:
        road}, or of colors, e.g. {'#000000': ground, '#ff0000': road}, all others being ignored.
    test: Without a column of splits, about this fraction of the images (or this many) is the test
        split.

    Raises:
        UserError: with file and line: a column is missing, a row is incomplete, an image is not
            there, an unknown split; and for bad images.
    """
    table = expanded(file)
    answer = _answer(
        label_column, label_separator, label_columns, value_columns, mask_column, mask_classes
    )
    folder = table.parent if image_folder is None else table.parent / expanded(image_folder)
    ending = f".{extension.removeprefix('.')}" if extension else ""
    listings = {split: Listing() for split in ("train", "validation", "test")}
    unlabelled = without_any = 0
    optional = (split_column, group_column)
    for line, cells in _rows(table, (path_column, *answer.columns), optional):
        where = f"{file}:{line}"
        if not cells[path_column]:
            raise UserError(f"{where}: no {path_column}")
        said = answer.read(where, table.parent, cells)
        if said is None:
            unlabelled += 1
            continue
        without_any += label_separator is not None and not said
        split = _split_name(where, cells[split_column]) if split_column in cells else "train"
        path = _image_path(where, folder, cells[path_column] + ending)
        group = cells.get(group_column, "")
        listings[split].add([path], said, group)
    if unlabelled:
        options.notes.append(f"{file}: {unlabelled:,} rows without {answer.words} are left out")
    if without_any:
        options.notes.append(
            f"{file}: {without_any:,} rows have an empty {label_column}: they are images with none "
            "of the labels; remove those that were not labelled"
        )
    _warn_of_repeats(file, listings, options)
    return labelled_dataset(file, str(folder), listings, test, options, answer.reading)


@dataclass(frozen=True)
class _Answer:
    """Which columns describe an image's targets, and how their cells are read.

    read: (place, folder, cells by column) to what `reading` takes; None for empty cells.
    """

    columns: tuple[str, ...]
    words: str
    read: Callable[[str, Path, dict[str, str]], Any]
    reading: Reading


def _answer(
    label: str,
    separator: str | None,
    label_columns: list[str] | None,
    value_columns: list[str] | None,
    mask: str | None,
    mask_classes: MaskClasses,
) -> _Answer:
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
        return _Answer(
            (label,), f"a {label}", partial(_labels_in, label, separator), SeveralLabels()
        )
    if label_columns is not None:
        columns, reading = tuple(label_columns), SeveralLabels(list(label_columns))
        return _Answer(columns, "labels", _Marked(columns), reading)
    if value_columns is not None:
        columns = tuple(value_columns)
        return _Answer(columns, "values", partial(_numbers, columns), SomeValues(list(columns)))
    if mask is not None:
        return _Answer((mask,), f"a {mask}", partial(_mask, mask), MaskFiles(mask_classes))
    return _Answer((label,), f"a {label}", partial(_class, label), OneClass())


def _class(column: str, _where: str, _folder: Path, cells: dict[str, str]) -> str | None:
    return class_name(cells[column]) if cells[column] else None


def _labels_in(
    column: str, separator: str, _where: str, _folder: Path, cells: dict[str, str]
) -> list[str]:
    return [class_name(name.strip()) for name in cells[column].split(separator) if name.strip()]


class _Marked:
    """Reads which of the columns say that an image has their label."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._no: dict[str, str] = {}  # what has said by now that an image lacks a column's label

    def __call__(self, where: str, _folder: Path, cells: dict[str, str]) -> list[str] | None:
        marks = {column: cells[column].lower() for column in self._columns}
        if not all(marks.values()):
            return None
        for column, mark in marks.items():
            if mark not in _YES + _NO:
                raise UserError(f"{where}: {column} is '{mark}'; expected 1 or 0")
            no = self._no.setdefault(column, mark) if mark in _NO else mark
            if mark in _NO and (no == "-1") != (mark == "-1"):
                raise UserError(
                    f"{where}: {column} has both -1 and 0; if -1 means unknown, leave "
                    "the cell empty, and if both mean no, write 0"
                )
        return [column for column, mark in marks.items() if mark in _YES]


def _numbers(
    columns: tuple[str, ...], where: str, _folder: Path, cells: dict[str, str]
) -> list[float] | None:
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
            raise UserError(f"{where}: {message}, or an empty cell where it is not known")
        found.append(number)
    return found


def _mask(column: str, where: str, folder: Path, cells: dict[str, str]) -> str | None:
    return _image_path(where, folder, cells[column]) if cells[column] else None


def _warn_of_repeats(file: str, listings: dict[str, Listing], options: ImageOptions) -> None:
    """One file, or images of one group, in several splits."""
    for what, kind in (("paths", "files"), ("groups", "groups")):
        splits = {name: set(filter(None, getattr(held, what))) for name, held in listings.items()}
        for later, earlier in (("test", "train"), ("test", "validation"), ("validation", "train")):
            if both := sorted(splits[later] & splits[earlier]):
                options.notes.append(
                    f"{file}: {len(both):,} {kind} of the {later} split are in the {earlier} split "
                    f"as well: {listed(both, 3)}"
                )


def _rows(
    table: Path, required: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of each row that is not empty."""
    try:
        # utf-8-sig: spreadsheets start the file with a byte order mark.
        with (
            open_regular(table, TABLE_BYTES) as content,
            io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as lines,
        ):
            first = lines.readline(csv.field_size_limit())
            delimiter = max(",;\t", key=first.count)
            header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
            for column in required:
                if column not in header:
                    raise UserError(
                        f"{table}:1: the header has no column '{column}'"
                        f"{did_you_mean(column, header)} ({_columns(header)})"
                    )
            for column in (*required, *optional):
                if header.count(column) > 1:
                    raise UserError(f"{table}:1: the header has several columns '{column}'")
            reader = csv.reader(lines, delimiter=delimiter)
            for row in reader:
                line = reader.line_num + 1
                if not any(row):
                    continue
                if len(row) != len(header):
                    raise UserError(
                        f"{table}:{line}: {len(row)} cells, but the header has {len(header)}"
                    )
                yield line, dict(zip(header, map(str.strip, row), strict=True))
    except UnusableFileError as error:
        raise UserError(f"dataset.file: {table}: {error}") from error
    except OSError as error:
        raise UserError(f"dataset.file: {table}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 text ({error}); save it as such") from error
    except csv.Error as error:
        raise UserError(f"{table}: {error}") from error


def _columns(header: list[str]) -> str:
    """What the first line contains instead, shortened."""
    names = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in header]
    if names and names[0].startswith(("{", "[")):
        return "it looks like JSON, not like CSV"
    if sum(any(c.isdigit() for c in name) for name in names) > _PIXELS:
        return f"it has {len(names):,}, as a table of pixels has; expected the paths of files"
    return f"it has {listed(names)}" if any(names) else "it has none"


def _split_name(where: str, text: str) -> str:
    split = split_named(text)
    if split in (None, "unlabelled"):
        raise UserError(f"{where}: the split is '{text}'; expected train, val or test")
    return split


def _image_path(where: str, folder: Path, text: str) -> str:
    """`text` as a path from `folder`; tables written on Windows have backslashes."""
    for name in (text, text.replace("\\", "/")):
        path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each row is slow)
        if os.path.isfile(path):  # noqa: PTH113
            return path
    raise UserError(f"{where}: there is no file {text} (paths are from {folder.absolute()})")
