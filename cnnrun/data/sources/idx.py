"""MNIST and its relatives, read straight from their IDX files (LeCun's format), .gz or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.sources.download import download_with_torchvision
from cnnrun.data.sources.keys import Download, Root
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_ALL = [file for pair in _FILES.values() for file in pair]
_FAMILY = ("MNIST", "FashionMNIST", "KMNIST")

# A damaged header may announce any size; no real file of this family comes near this one.
_LARGEST = 2**31


@datasets.register("mnist")
def mnist(*, root: Root = "data", download: Download = True) -> Dataset:
    """Handwritten digits, gray 28x28, 10 classes (LeCun et al. 1998)."""
    return _load("MNIST", root, download, tuple("0123456789"))


@datasets.register("fashion_mnist")
def fashion_mnist(*, root: Root = "data", download: Download = True) -> Dataset:
    """Images of clothes, gray 28x28, 10 classes (Xiao et al. 2017)."""
    shoes = ("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", *shoes)
    return _load("FashionMNIST", root, download, classes)


@datasets.register("kmnist")
def kmnist(*, root: Root = "data", download: Download = True) -> Dataset:
    """Cursive Japanese characters, gray 28x28, 10 classes (Clanuwat et al. 2018)."""
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    return _load("KMNIST", root, download, classes)


def _load(name: str, root: str, download: bool, classes: tuple[str, ...]) -> Dataset:
    folder = _folder_of(name, expanded(root))
    if folder is None:
        wanted = f"{', '.join(_ALL)} (or each with .gz)"
        download_with_torchvision(name, expanded(root), f"{name}/raw", wanted, allowed=download)
        folder = expanded(root) / name / "raw"
    train, test = (_split(folder, *files, len(classes)) for files in _FILES.values())
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = (" x ".join(map(str, split.images.shape[2:])) for split in (train, test))
        raise UserError(f"{folder}: training images are {next(sizes)}, test images {next(sizes)}")
    return Dataset(classes, train, test)


def _folder_of(name: str, root: Path) -> Path | None:
    """The folder with all files: as torchvision stores them, or from an archive.

    The root itself only if no set of the family has its own folder there: all sets use the same
    file names.
    """
    places = [root / name / "raw", root / name]
    if not any((root / family).is_dir() for family in _FAMILY):
        places += [root, root / "raw"]
    return next((p for p in places if all(_find(p, file) is not None for file in _ALL)), None)


def _find(folder: Path, name: str) -> Path | None:
    """The file, `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, .gz or not; Kaggle's
    archives put each into a folder of its name."""
    names = (name, name.replace("-idx", ".idx"))
    places = (folder / other / inner for other in names for inner in ("", other))
    candidates = (place.with_name(place.name + end) for place in places for end in ("", ".gz"))
    return next((file for file in candidates if file.is_file()), None)


def _split(folder: Path, images_name: str, labels_name: str, classes: int) -> Split:
    images_file, labels_file = _find(folder, images_name), _find(folder, labels_name)
    assert images_file is not None
    assert labels_file is not None
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{images_file} holds {len(images):,} images but {labels_file} {len(labels):,} labels"
        )
    if len(labels) and int(labels.max()) >= classes:
        raise UserError(
            f"{labels_file}: label {int(labels.max())}, but there are {classes} classes"
        )
    return Split(images.unsqueeze(1), labels.long())


def read_idx(file: Path, dimensions: int) -> Tensor:
    """The uint8 array in an IDX file, gzip'd or not, with `dimensions` axes.

    Raises:
        UserError: not an IDX file of bytes with so many axes, or cut short.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(4 + 4 * dimensions)
            if len(head) != 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
                raise UserError(f"{file}: not an IDX file of {dimensions}-dimensional bytes")
            shape = [int(size) for size in np.frombuffer(head[4:], dtype=">u4")]
            whole = math.prod(shape) <= _LARGEST
            values = np.empty(shape if whole else 0, np.uint8)
            whole = whole and stream.readinto(values.reshape(-1).data) == values.size
            # Nothing may follow the announced data.
            whole = whole and not stream.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: can't be read ({error}); delete it to fetch it again") from error
    if not whole:
        raise UserError(
            f"{file}: announces {' x '.join(map(str, shape))} bytes but holds fewer; "
            "delete it to fetch it again"
        )
    return torch.from_numpy(values)
