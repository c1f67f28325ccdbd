"""A table of image files and their classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cnnrun.data.dataset import BadFile, Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.csv_cells import BadRowError, answer_of, image_path
from cnnrun.data.sources.labelled_files import Amount, Listing, labelled_dataset
from cnnrun.data.sources.listed_names import listed
from cnnrun.data.sources.mask_pixels import MaskClasses
from cnnrun.data.sources.split_names import split_named
from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import TABLE_BYTES, UnusableFileError, open_regular

# Characters shown of a column's name; and the number of numbered columns that make it no table of
# files.
_LONGEST = 30
_PIXELS = 60

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
        UserError: with file and line: a column is missing; a row is incomplete, its image is not
            there or its split unknown, unless bad ones are to be skipped; and for bad images.
    """
    table = expanded(file)
    answer = answer_of(
        label_column, label_separator, label_columns, value_columns, mask_column, mask_classes
    )
    folder = table.parent if image_folder is None else table.parent / expanded(image_folder)
    ending = f".{extension.removeprefix('.')}" if extension else ""
    listings = {split: Listing() for split in ("train", "validation", "test")}
    unlabelled = without_any = 0
    optional = (split_column, group_column)
    for line, header, row in _rows(table, (path_column, *answer.columns), optional):
        try:
            cells = _by_column(header, row)
            if not cells[path_column]:
                raise BadRowError(f"no {path_column}")
            said = answer.read(table.parent, cells)
            if said is None:
                unlabelled += 1
                continue
            split = _split_name(cells[split_column]) if split_column in cells else "train"
            path = image_path(folder, cells[path_column] + ending)
        except UserError as error:
            if options.on_error == "stop" or not isinstance(error, BadRowError):
                raise UserError(f"{file}:{line}: {error}") from error
            options.bad_files.append(BadFile(f"{file}:{line}", str(error)))
            continue
        without_any += label_separator is not None and not said
        listings[split].add([path], said, cells.get(group_column, ""))
    if unlabelled:
        options.notes.append(f"{file}: {unlabelled:,} rows without {answer.words} are left out")
    if without_any:
        options.notes.append(
            f"{file}: {without_any:,} rows have an empty {label_column}: they are images with none "
            "of the labels; remove those that were not labelled"
        )
    _warn_of_repeats(file, listings, options)
    return labelled_dataset(file, str(folder), listings, test, options, answer.reading)


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
) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line number, header, row) of each row that is not empty."""
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
                if any(row):
                    yield reader.line_num + 1, header, row
    except UnusableFileError as error:
        raise UserError(f"dataset.file: {table}: {error}") from error
    except OSError as error:
        raise UserError(f"dataset.file: {table}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 text ({error}); save it as such") from error
    except csv.Error as error:
        raise UserError(f"{table}: {error}") from error


def _by_column(header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise BadRowError(f"{len(row)} cells, but the header has {len(header)}")
    return dict(zip(header, map(str.strip, row), strict=True))


def _columns(header: list[str]) -> str:
    """What the first line contains instead, shortened."""
    names = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in header]
    if names and names[0].startswith(("{", "[")):
        return "it looks like JSON, not like CSV"
    if sum(any(c.isdigit() for c in name) for name in names) > _PIXELS:
        return f"it has {len(names):,}, as a table of pixels has; expected the paths of files"
    return f"it has {listed(names)}" if any(names) else "it has none"


def _split_name(text: str) -> str:
    split = split_named(text)
    if split in (None, "unlabelled"):
        raise BadRowError(f"the split is '{text}'; expected train, val or test")
    return split
