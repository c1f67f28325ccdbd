"""CIFAR-10 and CIFAR-100, read from the files of the python version, without trusting them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.sources.download import download_with_torchvision
from cnnrun.data.sources.keys import Download, Root
from cnnrun.data.sources.plain_pickle import Bytes, ForeignPickleError, loads
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import read_bytes

_BYTES = 3 * 32 * 32
# Ten times what a file of the original has.
_MOST_IMAGES, _MOST_BYTES, _MOST_CLASSES = 500_000, 2**31, 1000


@datasets.register("cifar10")
def cifar10(*, root: Root = "data", download: Download = True) -> Dataset:
    """Photos of things and animals, RGB 32x32, 10 classes (Krizhevsky 2009)."""
    folder = expanded(root) / "cifar-10-batches-py"
    train = [f"data_batch_{i}" for i in range(1, 6)]
    _fetch_missing("CIFAR10", folder, [*train, "test_batch", "batches.meta"], download)
    return _load(folder, train, ["test_batch"], "batches.meta", "labels", "label_names")


@datasets.register("cifar100")
def cifar100(*, root: Root = "data", download: Download = True) -> Dataset:
    """Photos of things and animals, RGB 32x32, 100 fine classes (Krizhevsky 2009)."""
    folder = expanded(root) / "cifar-100-python"
    _fetch_missing("CIFAR100", folder, ["train", "test", "meta"], download)
    return _load(folder, ["train"], ["test"], "meta", "fine_labels", "fine_label_names")


def _fetch_missing(name: str, folder: Path, files: list[str], download: bool) -> None:
    if not all((folder / file).is_file() for file in files):
        wanted = f"{', '.join(files)} (or the .tar.gz, unpacked)"
        download_with_torchvision(name, folder.parent, folder.name, wanted, allowed=download)


def _load(
    folder: Path, train: list[str], test: list[str], meta: str, labels: str, names: str
) -> Dataset:
    classes = _class_names(folder / meta, names)
    return Dataset(
        classes,
        _split([folder / file for file in train], labels, len(classes)),
        _split([folder / file for file in test], labels, len(classes)),
    )


def _split(files: list[Path], labels_field: str, classes: int) -> Split:
    images, labels = [], []
    for file in files:
        content = _content(file)
        rows, numbers = _field(file, content, "data"), _field(file, content, labels_field)
        if not isinstance(rows, np.ndarray) or not _are_labels(numbers):
            raise UserError(f"{file}: expected N x 3072 bytes and N labels, found other things")
        if rows.shape != (len(numbers), _BYTES):
            raise UserError(f"{file}: expected N x 3072 bytes and N labels, found {rows.shape}")
        if numbers and not 0 <= min(numbers) <= max(numbers) < classes:
            span = f"{min(numbers)} to {max(numbers)}"
            raise UserError(f"{file}: labels are {span}; there are {classes} classes")
        images.append(rows.reshape(-1, 3, 32, 32))
        labels.append(np.asarray(numbers, dtype=np.int64))
    return Split(torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels)))


def _are_labels(values: Any) -> TypeGuard[list[int]]:
    """Whether they are integers, not too many and not too long."""
    return (
        isinstance(values, list)
        and len(values) <= _MOST_IMAGES
        and all(type(value) is int and abs(value) < 2**31 for value in values)
    )


def _class_names(file: Path, key: str) -> tuple[str, ...]:
    names = _field(file, _content(file), key)
    if (
        not isinstance(names, list)
        or not 1 <= len(names) <= _MOST_CLASSES
        or not all(isinstance(name, (str, bytes)) and len(name) <= 100 for name in names)
    ):
        raise UserError(f"{file}: its '{key}' are not names; delete it to fetch it again")
    return tuple(_text(name) for name in names)


def _content(file: Path) -> dict[Any, Any]:
    """The dict pickled in `file`; keys are bytes or text, depending on the Python that wrote it."""
    try:
        content = loads(read_bytes(file, _MOST_BYTES))
    except ForeignPickleError as error:
        raise UserError(
            f"{file}: a data file asks to run {error}; it was not made by CIFAR's authors"
        ) from error
    except Exception as error:  # whatever a damaged one raises
        raise UserError(
            f"{file}: not a CIFAR file ({error!r:.200}); delete it to fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a CIFAR file (no dict); delete it to fetch it again")
    return content


def _field(file: Path, content: dict[Any, Any], key: str) -> Any:
    for name in (key, key.encode()):
        if name in content:
            found = content[name]
            return found.array if isinstance(found, Bytes) else found
    raise UserError(f"{file}: not a CIFAR file (no '{key}'); delete it to fetch it again")


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "replace")
