"""CIFAR-10 and CIFAR-100, read from the files of the python version, without trusting them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.sources.download import download_with_torchvision
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded


@datasets.register("cifar10")
def cifar10(*, root: str = "data", download: bool = True) -> Dataset:
    """Photos of things and animals, RGB 32x32, 10 classes (Krizhevsky 2009)."""
    folder = expanded(root) / "cifar-10-batches-py"
    train = [f"data_batch_{i}" for i in range(1, 6)]
    _fetch_missing("CIFAR10", folder, [*train, "test_batch", "batches.meta"], download)
    return _load(folder, train, ["test_batch"], "batches.meta", "labels", "label_names")


@datasets.register("cifar100")
def cifar100(*, root: str = "data", download: bool = True) -> Dataset:
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
    classes = tuple(_text(name) for name in _field(folder / meta, names))
    return Dataset(
        classes,
        _split([folder / file for file in train], labels, len(classes)),
        _split([folder / file for file in test], labels, len(classes)),
    )


def _split(files: list[Path], labels_field: str, classes: int) -> Split:
    images, labels = [], []
    for file in files:
        rows = np.asarray(_field(file, "data"))
        numbers = np.asarray(_field(file, labels_field), dtype=np.int64)
        if rows.shape != (len(numbers), 3072) or rows.dtype != np.uint8:
            raise UserError(f"{file}: expected N x 3072 bytes and N labels, found {rows.shape}")
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
            raise UserError(f"{file}: labels go up to {numbers.max()}; there are {classes} classes")
        images.append(rows.reshape(-1, 3, 32, 32))
        labels.append(numbers)
    return Split(torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels)))


def _field(file: Path, key: str) -> Any:
    """`key` of the pickled dict in `file`; keys are bytes or text, by the Python that wrote it."""
    try:
        content = _ArraysOnly(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        return content[key] if key in content else content[key.encode()]
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{file}: not a CIFAR file ({error!r}); delete it to fetch it again"
        ) from error


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


class _ArraysOnly(pickle.Unpickler):
    """Reads plain values and numpy arrays; anything else in the file is refused, never called."""

    _ALLOWED = frozenset(
        [
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        ]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        raise UserError(
            f"a data file asks to run {module}.{name}; it was not made by CIFAR's authors"
        )
