"""What the columns of a Hugging Face table give as targets, by the features that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cnnrun.data.dataset import BadFile
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.array_targets import targets_of
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import LabelSets
from cnnrun.errors import UserError


def with_targets(table: Any, where: str, columns: list[str], options: ImageOptions) -> Any:
    """The rows of a table whose targets are known; the others are bad files.

    A class of -1 is unknown, too, as in test sets whose labels are not published.
    """
    if not set(columns) <= set(table.column_names):
        return table  # reported later
    named = [hasattr(table.features[column], "names") for column in columns]
    cells = zip(*(_cells(table, column) for column in columns), strict=True)
    kept = []
    for row, targets in enumerate(cells):
        pairs = zip(targets, named, strict=True)
        if any(cell is None or cell != cell or (is_class and cell < 0) for cell, is_class in pairs):
            options.bad_files.append(BadFile(f"{where}, row {row}", "its target is not known"))
        else:
            kept.append(row)
    return table if len(kept) == len(table) else table.select(kept)


def holds_sets(feature: Any) -> bool:
    """Whether each cell is a list, of labels."""
    return hasattr(feature, "feature")


def holds_numbers(feature: Any) -> bool:
    """Whether each cell is a floating-point number."""
    return str(getattr(feature, "dtype", "")).startswith(("float", "double"))


def values_in(table: Any, where: str, columns: list[str]) -> Targets:
    """Columns of numbers, or of lists of as many numbers each, as `Values`.

    Raises:
        UserError: a row lacks a number, or has something else.
    """
    try:
        cells = [table.select_columns([column])[:][column] for column in columns]
        rows = np.array(cells, np.float64).T
        return targets_of(rows, "values")
    except (TypeError, ValueError) as error:
        message = f"{', '.join(columns)} hold something other than a number in some row"
        raise UserError(f"{where}: {message}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def label_names(tables: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """The labels of sets: those that the feature names, or else all that training has, sorted.

    Raises:
        UserError: they are neither text nor whole numbers.
    """
    table = tables["train"]
    if names := getattr(table.features[column].feature, "names", None):
        return tuple(map(str, names))
    found = {label for cell in _cells(table, column) for label in cell or ()}
    if not all(isinstance(label, int | str) for label in found):
        raise UserError(f"label_column: '{column}' holds lists of neither whole numbers nor text")
    return tuple(map(str, sorted(found)))


def sets_in(table: Any, where: str, column: str, names: tuple[str, ...]) -> LabelSets:
    """Lists of labels as sets of them, (N, K).

    Raises:
        UserError: a row without a list (an empty one is a set), or a label that there is not.
    """
    own = getattr(table.features[column].feature, "names", None)
    places = {name: k for k, name in enumerate(own or names)}
    cells = _cells(table, column)
    held = torch.zeros(len(cells), len(names))
    for row, cell in enumerate(cells):
        if cell is None:
            raise UserError(f"{where}, row {row}: not a list of labels (for none, an empty list)")
        for label in cell:
            place = label if own else places.get(str(label), -1)
            if not isinstance(place, int) or not 0 <= place < len(names):
                raise UserError(f"{where}, row {row}: the training split has no label {label!r}")
            held[row, place] = 1
    return LabelSets(held, listed=own is None)


def _cells(table: Any, column: str) -> list[Any]:
    cells: list[Any] = table.select_columns([column])[:][column]
    return cells
