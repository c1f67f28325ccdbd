"""The small data sets of torchvision, whose images are one array in memory."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnnrun.data.dataset import Dataset
from cnnrun.data.sources.keys import Download, Root
from cnnrun.data.sources.torchvision_adapter import (
    TorchvisionSet,
    array_split,
    assemble,
    load_arrays,
)
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_DIGITS = tuple(string.digits)
_BY_TRAIN = {"train": {"train": True}, "test": {"train": False}}
_BY_SPLIT = {"train": {"split": "train"}, "test": {"split": "test"}}


@datasets.register("emnist")
def emnist(
    *,
    split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = "balanced",
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """Handwritten letters and digits, gray 28x28, 10 to 62 classes (Cohen et al. 2017).

    `letters` has 26 classes of both cases; `digits` and `mnist` have 10. The files hold images
    mirrored about their diagonal; here they stand upright.

    split: `byclass` has 62 classes; `bymerge` and `balanced` have 47, as 15 letters look alike in
        both cases.
    """
    known = TorchvisionSet(
        "EMNIST",
        tuple(
            f"EMNIST/raw/emnist-{split}-{part}-{kind}-ubyte"
            for part in ("train", "test")
            for kind in ("images-idx3", "labels-idx1")
        ),
        {name: {"split": split, **chosen} for name, chosen in _BY_TRAIN.items()},
    )
    merged = set("cijklmopsuvwxyz")
    unmerged = "".join(letter for letter in string.ascii_lowercase if letter not in merged)
    classes = {
        "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
        "bymerge": string.digits + string.ascii_uppercase + unmerged,
        "balanced": string.digits + string.ascii_uppercase + unmerged,
        "letters": string.ascii_lowercase,
    }.get(split, string.digits)
    # The letters are numbered from 1 on.
    first = 1 if split == "letters" else 0
    return load_arrays(
        known, root, download, tuple(classes), lambda m: (m.data.mT, m.targets - first)
    )


@datasets.register("qmnist")
def qmnist(
    *,
    test: Literal["test", "test10k", "test50k"] = "test",
    root: Root = "data",
    download: Download = True,
) -> Dataset:
    """MNIST rebuilt with all 60,000 test digits, gray 28x28, 10 classes (Yadav & Bottou 2019).

    test: All 60,000, the 10,000 of MNIST, or the 50,000 that MNIST left out.
    """
    parts = ("train-images-idx3-ubyte", "train-labels-idx2-int")
    files = [*parts, *(part.replace("train", "test") for part in parts)]
    known = TorchvisionSet(
        "QMNIST",
        tuple(f"QMNIST/raw/qmnist-{file}" for file in files),
        {"train": {"what": "train"}, "test": {"what": test}},
    )
    # Column 0 of a label is the digit; the others identify the writer.
    return load_arrays(known, root, download, _DIGITS, lambda m: (m.data, m.targets[:, 0]))


@datasets.register("usps")
def usps(*, root: Root = "data", download: Download = True) -> Dataset:
    """Handwritten digits of postal codes, gray 16x16, 10 classes (Hull 1994)."""
    known = TorchvisionSet("USPS", ("usps.bz2", "usps.t.bz2"), _BY_TRAIN)
    return load_arrays(known, root, download, _DIGITS, lambda m: (m.data, m.targets))


@datasets.register("svhn")
def svhn(*, extra: bool = False, root: Root = "data", download: Download = True) -> Dataset:
    """House numbers from street views, RGB 32x32, 10 classes (Netzer et al. 2011).

    extra: Train on the 531,131 easier images as well (1.6 GB in memory).
    """
    names = ("train", "test", "extra") if extra else ("train", "test")
    known = TorchvisionSet(
        "SVHN",
        tuple(f"{name}_32x32.mat" for name in names),
        {name: {"split": name} for name in names},
    )
    made = known.open(root, download)
    train = [made[name] for name in names if name != "test"]
    return assemble(
        _DIGITS,
        {
            "train": array_split(
                np.concatenate([part.data for part in train]),
                np.concatenate([part.labels for part in train]),
            ),
            "test": array_split(made["test"].data, made["test"].labels),
        },
    )


@datasets.register("stl10")
def stl10(*, root: Root = "data", download: Download = True) -> Dataset:
    """Photos of things and animals, RGB 96x96, 10 classes (Coates et al. 2011)."""
    files = tuple(f"stl10_binary/{s}_{kind}.bin" for s in ("train", "test") for kind in "Xy")
    TorchvisionSet("STL10", files, _BY_SPLIT).require(root, download)
    classes = "airplane bird car cat deer dog horse monkey ship truck"
    # Read here, as torchvision would first check 2.6 GB of unlabelled images, 10 s at every run.
    folder = expanded(root) / "stl10_binary"
    return assemble(
        tuple(classes.split()),
        {name: array_split(*_stl10_part(folder, name)) for name in _BY_SPLIT},
    )


def _stl10_part(folder: Path, name: str) -> tuple[Any, Any]:
    """Images (N, 3, 96, 96), which lie in the file column by column, and labels (N,) from 0 on."""
    images = np.fromfile(folder / f"{name}_X.bin", np.uint8)
    labels = np.fromfile(folder / f"{name}_y.bin", np.uint8)
    if images.size != labels.size * 3 * 96 * 96:
        raise UserError(
            f"{folder / f'{name}_X.bin'} does not hold the {labels.size:,} images that "
            f"{name}_y.bin has labels for; delete both to fetch them again"
        )
    return images.reshape(-1, 3, 96, 96).swapaxes(2, 3), labels.astype(np.int64) - 1


@datasets.register("semeion")
def semeion(*, root: Root = "data", download: Download = True) -> Dataset:
    """1,593 handwritten digits in black and white, 16x16, 10 classes (Tactile Srl 1994).

    There is no official test split: 20 % of each class, always the same, are the test split.
    """
    known = TorchvisionSet("SEMEION", ("semeion.data",), {"train": {"download": False}})
    return load_arrays(known, root, download, _DIGITS, lambda m: (m.data, m.labels))


@datasets.register("fer2013")
def fer2013(*, root: Root = "data") -> Dataset:
    """Faces with one of 7 expressions, gray 48x48 (Goodfellow et al. 2013); place by hand.

    `fer2013/fer2013.csv` below the root is Kaggle's file of that name.

    root: Folder that holds `fer2013/fer2013.csv`.
    """
    known = TorchvisionSet("FER2013", ("fer2013/fer2013.csv",), _BY_SPLIT, downloadable=False)
    classes = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    return load_arrays(
        known,
        root,
        False,
        classes,
        lambda m: (np.stack([image for image, _ in m._samples]), [k for _, k in m._samples]),
    )
