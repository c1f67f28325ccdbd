"""A table of image files and their classes."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import PictureOptions
from cnnrun.data.sources.labelled_files import (
    SPLIT_NAMES,
    Amount,
    Listing,
    class_name,
    labelled_dataset,
)
from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded


@datasets.register("csv")
def csv_file(
    pictures: PictureOptions,
    *,
    file: str,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    test: Amount = 0.2,
) -> Dataset:
    """A CSV file with the columns path and label, and, if you like, split.

    file: UTF-8, with a header; columns are separated by commas, semicolons or tabs. Paths are
        relative to its folder. A label is the name of a class, or a number, which is a name too.
    split_column: says train, val (or valid, validation) or test in each row, if it is there.
    test: without such a column, this share of the pictures (or number of them) is the test split:
        always the same ones, each class with its share.

    Raises:
        UserError: with file and line: a column is missing, a row is incomplete, a picture is not
            there, an unknown split; and for bad pictures.
    """
    table = expanded(file)
    columns = (path_column, label_column, split_column)
    listings = {split: Listing() for split in ("train", "validation", "test")}
    for line, cells in _rows(table, columns[:2]):
        where = f"{file}:{line}"
        for column in columns[:2]:
            if not cells[column]:
                raise UserError(f"{where}: no {column}")
        split = _split_name(where, cells[split_column]) if split_column in cells else "train"
        path = _picture_path(where, table.parent, cells[path_column])
        listings[split].add([path], class_name(cells[label_column]))
    return labelled_dataset(file, str(table.parent), listings, test, pictures)


def _rows(table: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of each row that is not empty."""
    try:
        # utf-8-sig: spreadsheets begin the file with a byte order mark.
        with table.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            delimiter = max(",;\t", key=first.count)
            header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
            for column in required:
                if column not in header:
                    raise UserError(
                        f"{table}:1: the header has no column '{column}'"
                        f"{did_you_mean(column, header)} (it has {', '.join(header) or 'none'})"
                    )
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
    except OSError as error:
        raise UserError(f"dataset.file: {table}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 text ({error}); save it as such") from error
    except csv.Error as error:
        raise UserError(f"{table}: {error}") from error


def _split_name(where: str, text: str) -> str:
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise UserError(f"{where}: the split is '{text}'; train, val or test is meant")
    return split


def _picture_path(where: str, folder: Path, text: str) -> str:
    """`text` from `folder`; tables written on Windows have backslashes."""
    for name in (text, text.replace("\\", "/")):
        path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each row is slow)
        if os.path.isfile(path):  # noqa: PTH113
            return path
    raise UserError(f"{where}: there is no file {text} (paths are from {folder.absolute()})")
