"""A table of image files and their classes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.labelled_files import (
    Amount,
    Listing,
    class_name,
    labelled_dataset,
    listed,
)
from cnnrun.data.sources.split_names import split_named
from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import TABLE_BYTES, UnusableFileError, open_regular

# Of a name of a column that is shown, and how many numbered columns are no table of files.
_LONGEST = 30
_PIXELS = 60


@datasets.register("csv")
def csv_file(
    options: ImageOptions,
    *,
    file: str,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    group_column: str = "group",
    test: Amount = 0.2,
) -> Dataset:
    """A CSV file with the columns path and label, and, if you like, split or group.

    Columns are separated by commas, semicolons or tabs. A label is the name of a class, or a
    number, which is a name too.

    Each file's own name (or group) decides which split it is in, so adding or removing rows does
    not move it, and every class keeps an image to train on.

    file: The CSV file, with a header; paths in it start at its folder.
    path_column: Column of the image files.
    label_column: Column of the classes; rows without one are left out.
    split_column: Column that says train, val (or valid, validation) or test, if there is one.
    group_column: Column of what images come from, e.g. a patient or a video, if there is one; a
        group is never divided between splits.
    test: Without a column of splits, about this fraction of the images (or this many) is the test
        split.

    Raises:
        UserError: with file and line: a column is missing, a row is incomplete, an image is not
            there, an unknown split; and for bad images.
    """
    table = expanded(file)
    listings = {split: Listing() for split in ("train", "validation", "test")}
    unlabelled = 0
    for line, cells in _rows(table, (path_column, label_column)):
        where = f"{file}:{line}"
        if not cells[path_column]:
            raise UserError(f"{where}: no {path_column}")
        if not cells[label_column]:
            unlabelled += 1
            continue
        split = _split_name(where, cells[split_column]) if split_column in cells else "train"
        path = _image_path(where, table.parent, cells[path_column])
        group = cells.get(group_column, "")
        listings[split].add([path], class_name(cells[label_column]), group)
    if unlabelled:
        options.notes.append(f"{file}: {unlabelled:,} rows without a {label_column} are left out")
    _tell_repeated(file, listings, options)
    return labelled_dataset(file, str(table.parent), listings, test, options)


def _tell_repeated(file: str, listings: dict[str, Listing], options: ImageOptions) -> None:
    """One file, or images of one group, in several splits."""
    for what, kind in (("paths", "files"), ("groups", "groups")):
        splits = {name: set(filter(None, getattr(held, what))) for name, held in listings.items()}
        for later, earlier in (("test", "train"), ("test", "validation"), ("validation", "train")):
            if both := sorted(splits[later] & splits[earlier]):
                options.notes.append(
                    f"{file}: {len(both):,} {kind} of the {later} split are in the {earlier} split "
                    f"as well: {listed(both, 3)}"
                )


def _rows(table: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of each row that is not empty."""
    try:
        # utf-8-sig: spreadsheets begin the file with a byte order mark.
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
    """What the first line has instead, however long it is."""
    names = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in header]
    if names and names[0].startswith(("{", "[")):
        return "it looks like JSON, not like CSV"
    if sum(any(c.isdigit() for c in name) for name in names) > _PIXELS:
        return f"it has {len(names):,}, as a table of pixels has; what is wanted are files' paths"
    return f"it has {listed(names)}" if any(names) else "it has none"


def _split_name(where: str, text: str) -> str:
    split = split_named(text)
    if split in (None, "unlabelled"):
        raise UserError(f"{where}: the split is '{text}'; train, val or test is meant")
    return split


def _image_path(where: str, folder: Path, text: str) -> str:
    """`text` from `folder`; tables written on Windows have backslashes."""
    for name in (text, text.replace("\\", "/")):
        path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each row is slow)
        if os.path.isfile(path):  # noqa: PTH113
            return path
    raise UserError(f"{where}: there is no file {text} (paths are from {folder.absolute()})")
