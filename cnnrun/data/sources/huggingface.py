"""Data sets of the Hugging Face hub, or local ones in its formats, by the `datasets` package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import ImageOptions, read_bytes
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.sources.huggingface_targets import (
    holds_numbers,
    holds_sets,
    label_names,
    sets_in,
    values_in,
    with_targets,
)
from cnnrun.data.sources.labelled_files import Amount, divided_by_content
from cnnrun.data.sources.mask_files import known_names, numbered, numbered_names, with_masks
from cnnrun.data.sources.mask_pixels import MaskClasses
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import Labels
from cnnrun.errors import NetworkError, UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.hub import asked_once
from cnnrun.runtime.paths import expanded


@datasets.register("huggingface")
def huggingface(
    options: ImageOptions,
    *,
    path: str,
    config: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    value_columns: Annotated[list[str], Field(min_length=1)] | None = None,
    mask_column: str | None = None,
    mask_classes: MaskClasses = None,
    train_split: str = "train",
    test_split: str = "test",
    validation_split: str | None = None,
    revision: str | None = None,
    test: Amount = 0.2,
) -> Dataset:
    """A data set of the Hugging Face hub or in its formats; needs the extra `huggingface`.

    Code that comes with a data set is never run.

    With a single table, each image's content decides which split it is in, unless `test_split` is a
    slice of it.

    path: Name on the hub (`uoft-cs/cifar10`), or a folder that `save_to_disk` wrote, or one of
        parquet files, or of images in class folders.
    config: Which of its configurations, where there are several.
    image_column: Column of the images.
    label_column: Column of the labels: a class in each row, or a list of them (task: multilabel),
        or a floating-point number (task: regress).
    value_columns: Columns of numbers instead (task: regress).
    mask_column: Column of masks, images themselves, instead (task: segment); 255 is ignored.
    mask_classes: Names of the pixel values 0, 1, ..., or of any values, or of colors, as for csv.
    train_split: The data set's name of the training split, or a slice such as `train[:10%]`.
    test_split: The data set's name of the test split, or a slice such as `train[90%:]`.
    validation_split: The data set's name of the validation split, if it has one.
    revision: Branch, tag or commit on the hub; a commit makes a run repeatable.
    test: If a folder holds a single table, about this fraction of its images (or this many) is the
        test split.

    Raises:
        UserError: the extra is missing, the data set can't be loaded, or lacks a column or split.
    """
    parts = {"train": train_split, "test": test_split}
    if validation_split is not None:
        parts["validation"] = validation_split
    saved = _saved(path)
    alone = saved is not None and set(saved) == {"train"} and test_split == "test"
    if alone:
        del parts["test"]
    tables = {
        name: _load(path, config, split, revision) if saved is None else _part(path, saved, split)
        for name, split in parts.items()
    }
    where = {name: f"{path}, {parts[name]}" for name in tables}
    if options.on_error == "skip" and mask_column is None:  # bad masks are found as bad images are
        wanted = value_columns or [label_column]
        tables = {name: with_targets(t, where[name], wanted, options) for name, t in tables.items()}
    images = {name: ImageColumn(t, where[name], image_column) for name, t in tables.items()}
    classes: Sequence[str]
    if mask_column is not None:
        if value_columns:
            raise UserError("mask_column: value_columns already names the target")
        held = {n: ImageColumn(t, where[n], mask_column, "mask_column") for n, t in tables.items()}
        unread = {name: (images[name], numbered(range(len(t)))) for name, t in tables.items()}
        pairs = {name: (held[name], images[name]) for name in tables}
        splits = with_masks(image_splits(unread, options), pairs, mask_classes, options)
        classes = known_names(mask_classes) or numbered_names(splits, options)
    else:
        targets, classes = _targets(tables, where, label_column, value_columns)
        splits = image_splits({name: (images[name], targets[name]) for name in tables}, options)
    if alone:
        splits |= divided_by_content(path, splits["train"], test, options.whole)
    return Dataset(tuple(classes), splits["train"], splits["test"], splits.get("validation"))


def _targets(
    tables: dict[str, Any], where: dict[str, str], label: str, values: list[str] | None
) -> tuple[dict[str, Targets], Sequence[str]]:
    """The targets of each split, of the kind that the column's feature says, and their names."""
    for table in tables.values():
        for column in values or [label]:
            _require_column(table, column, "value_columns" if values else "label_column")
    feature = tables["train"].features[label] if not values else None
    if values or holds_numbers(feature):
        columns = values or [label]
        return {n: values_in(t, where[n], columns) for n, t in tables.items()}, columns
    if holds_sets(feature):
        names = label_names(tables, label)
        return {n: sets_in(t, where[n], label, names) for n, t in tables.items()}, names
    names = _class_names(tables, label)
    return {n: Labels(_labels(t, where[n], label, names)) for n, t in tables.items()}, names


def _hub() -> Any:
    """The package `datasets`."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "dataset 'huggingface' needs the package `datasets`: pip install 'cnnrun[huggingface]'"
        ) from error
    return datasets


def _saved(path: str) -> Mapping[str, Any] | None:
    """The tables by name that `save_to_disk` wrote; None for other folders."""
    folder = expanded(path)
    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return None
    hub = _hub()
    # The package's errors have no common ancestor.
    try:
        held = hub.load_from_disk(str(folder))
    except Exception as error:
        raise UserError(f"{path}: can't be loaded ({_first_line(error)})") from error
    return {"train": held} if isinstance(held, hub.Dataset) else held


def _part(path: str, held: Mapping[str, Any], split: str) -> Any:
    """One of the tables, or a slice such as `train[:10%]`."""
    if split in held:
        return held[split]
    hub = _hub()
    try:
        sizes = {name: len(table) for name, table in held.items()}
        slices = hub.ReadInstruction.from_spec(split).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"{path} has no split '{split}'{did_you_mean(split, held)} (it has {', '.join(held)}, "
            "and slices such as train[:80%])"
        ) from error
    return hub.concatenate_datasets(
        [held[part.splitname].select(range(part.from_, part.to)) for part in slices]
    )


def _load(path: str, config: str | None, split: str, revision: str | None) -> Any:
    """One split as a `datasets.Dataset`, from the hub or files that the package reads."""
    hub = _hub()
    if path.startswith(("~", "$")):  # a folder; names on the hub start with a letter
        path = str(expanded(path))
    local = Path(path).exists()
    with nullcontext("") if local else asked_once() as silent:
        try:
            return hub.load_dataset(path, config, split=split, revision=revision)
        # The package's errors have no common ancestor: network, hub, formats, names ...
        except Exception as error:
            from_network = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
            kind = NetworkError if from_network or silent else UserError
            message = f"{path}, split '{split}': can't be loaded ({silent or _first_line(error)})"
            raise kind(message) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _class_names(tables: dict[str, Any], column: str) -> tuple[str, ...]:
    """The names that the label column comes with, or else its distinct values, sorted."""
    table = tables["train"]
    _require_column(table, column, "label_column")
    names = getattr(table.features[column], "names", None)
    if names is None:
        values = {value for part in tables.values() for value in _column(part, column)}
        if not all(isinstance(value, int | str) for value in values):
            raise UserError(f"label_column: '{column}' holds neither whole numbers nor text")
        names = sorted(values)
    return tuple(map(str, names))


def _require_column(table: Any, column: str, key: str) -> None:
    columns = table.column_names
    if column not in columns:
        raise UserError(
            f"{key}: there is no column '{column}'{did_you_mean(column, columns)} "
            f"(there are {', '.join(columns)})"
        )


def _column(table: Any, column: str) -> list[Any]:
    values: list[Any] = table.select_columns([column])[:][column]
    return values


def _labels(table: Any, where: str, column: str, classes: tuple[str, ...]) -> Tensor:
    """(N,) int64."""
    _require_column(table, column, "label_column")
    values = _column(table, column)
    own = getattr(table.features[column], "names", None)
    if own:
        names = [own[v] if v is not None and 0 <= v < len(own) else "" for v in values]
    else:
        names = ["" if v is None else str(v) for v in values]
    numbers = {name: k for k, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(numbers)):
        what = ", ".join(unknown[:8]) if any(unknown) else "rows without a label"
        raise UserError(f"{where}: classes that training has not: {what}")
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64)


class ImageColumn:
    """The images of a table, undecoded."""

    local = True

    def __init__(self, table: Any, where: str, column: str, key: str = "image_column") -> None:
        import datasets as hub

        _require_column(table, column, key)
        if not isinstance(table.features[column], hub.Image):
            raise UserError(
                f"{key}: '{column}' of {where} holds {table.features[column]}, not images"
            )
        self._table = table.select_columns([column]).cast_column(column, hub.Image(decode=False))
        self._where = where
        self._column = column

    def __len__(self) -> int:
        return len(self._table)

    def read(self, index: int) -> bytes:
        """The file of image `index`, undecoded."""
        cell = self._table[index][self._column]
        if cell is None:
            raise UnreadableError(f"'{self._column}' is empty")
        content: bytes | None = cell["bytes"]
        return read_bytes(cell["path"]) if content is None else content

    def name(self, index: int) -> str:
        """The name of image `index` in messages."""
        return f"{self._where}, row {index}"

    def identity(self) -> str:
        """The package's own fingerprint of the table: a key for caches."""
        return str(self._table._fingerprint)

    def ids(self) -> None:
        """Rows are identified by position: a revision is a fixed set."""
