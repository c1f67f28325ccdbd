"""Data sets of the Hugging Face hub, or local ones in its formats, by the `datasets` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import ImageOptions, read_bytes
from cnnrun.errors import NetworkError, UserError, did_you_mean
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded


@datasets.register("huggingface")
def huggingface(
    options: ImageOptions,
    *,
    path: str,
    config: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    train_split: str = "train",
    test_split: str = "test",
    validation_split: str | None = None,
    revision: str | None = None,
) -> Dataset:
    """A data set of the Hugging Face hub or in its formats; needs the extra `huggingface`.

    path: its name on the hub (`uoft-cs/cifar10`), or a folder: one written by `save_to_disk`, or of
        parquet files, or of images in class folders.
    config: which of its configurations, where there are several.
    train_split, test_split, validation_split: their names there; slices as `train[:10%]` work.
    revision: branch, tag or commit on the hub; a commit makes a run repeatable for good.

    Code that comes with a data set is never run.

    Raises:
        UserError: the extra is missing, the data set can't be had, or lacks a column or split.
    """
    parts = {"train": train_split, "test": test_split}
    if validation_split is not None:
        parts["validation"] = validation_split
    tables = {name: _load(path, config, split, revision) for name, split in parts.items()}
    classes = _class_names(tables, label_column)
    found = {
        name: (
            ImageColumn(table, f"{path}, {parts[name]}", image_column),
            _labels(table, f"{path}, {parts[name]}", label_column, classes),
        )
        for name, table in tables.items()
    }
    splits = image_splits(found, options)
    return Dataset(classes, splits["train"], splits["test"], splits.get("validation"))


def _load(path: str, config: str | None, split: str, revision: str | None) -> Any:
    """One split as a `datasets.Dataset`."""
    try:
        import datasets as hub
    except ImportError as error:
        raise UserError(
            "dataset 'huggingface' needs the package `datasets`: pip install 'cnnrun[huggingface]'"
        ) from error
    if path.startswith(("~", "$")):  # a folder; a name on the hub begins with a letter
        path = str(expanded(path))
    saved = (Path(path) / "dataset_dict.json").is_file()
    try:
        if not saved:
            return hub.load_dataset(path, config, split=split, revision=revision)
        held = hub.load_from_disk(path)
    # The package's errors have no common ancestor: network, hub, formats, names ...
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        from_network = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        kind = NetworkError if from_network and not saved else UserError
        raise kind(f"{path}, split '{split}': can't be loaded ({reason})") from error
    if split not in held:
        raise UserError(
            f"{path} has no split '{split}'{did_you_mean(split, held)} (it has {', '.join(held)})"
        )
    return held[split]


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
    names = [own[v] if 0 <= v < len(own) else "" for v in values] if own else list(map(str, values))
    numbers = {name: k for k, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(numbers)):
        what = ", ".join(unknown[:8]) if any(unknown) else "rows without a label"
        raise UserError(f"{where}: classes that training has not: {what}")
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64)


class ImageColumn:
    """The images of a table, undecoded."""

    def __init__(self, table: Any, where: str, column: str) -> None:
        import datasets as hub

        _require_column(table, column, "image_column")
        if not isinstance(table.features[column], hub.Image):
            raise UserError(
                f"image_column: '{column}' of {where} holds {table.features[column]}, not images"
            )
        self._table = table.select_columns([column]).cast_column(column, hub.Image(decode=False))
        self._where = where
        self._column = column

    def __len__(self) -> int:
        return len(self._table)

    def read(self, index: int) -> bytes:
        """The file of image `index`, undecoded."""
        cell = self._table[index][self._column]
        content: bytes | None = cell["bytes"]
        return read_bytes(cell["path"]) if content is None else content

    def name(self, index: int) -> str:
        """What to call image `index` in a message."""
        return f"{self._where}, row {index}"

    def identity(self) -> str:
        """The package's own fingerprint of the table: what caches are known by."""
        return str(self._table._fingerprint)

    def ids(self) -> None:
        """A table's rows are known by their positions: a revision is a fixed set."""
