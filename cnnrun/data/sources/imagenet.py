"""ImageNet as plain class folders, without devkit, meta file or archives."""

from __future__ import annotations

import os
from pathlib import Path

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.labelled_files import Listing, labelled_dataset
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_FORM = "<root>/train/<class>/*.JPEG and <root>/val/<class>/*.JPEG, e.g. train/n01440764"


@datasets.register("imagenet")
def imagenet(options: ImageOptions, *, root: str) -> Dataset:
    """ImageNet, 1.3 million photos in 1,000 classes (Russakovsky et al. 2015); not downloaded.

    The official validation split serves as test, as the labels of the test split were never
    published.

    No other part of ImageNet is needed, and any subset of the classes will do.

    root: Folder with `train` and `val`, each with a folder for each class.

    Raises:
        UserError: one of the two is not there or has no class folders, or there are bad images.
    """
    listings = {"validation": Listing()}
    for split, name in (("train", "train"), ("test", "val")):
        listings[split] = Listing()
        for entry in _class_folders(expanded(root) / name):
            listings[split].add(_images(entry), entry.name)
    # Unused: there is a test listing, and ImageNet has no fourth split.
    return labelled_dataset(root, str(expanded(root)), listings, 1, options)


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(
            f"imagenet: there is no folder {folder}; unpack the images as {_FORM} "
            "(https://image-net.org gives them to those who register)"
        )
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if not folders:
        raise UserError(
            f"imagenet: {folder} has no class folders; sort its images into {_FORM} (for the "
            "official flat `val`, the script valprep.sh of soumith/imagenetloader.torch does it)"
        )
    return folders


def _images(folder: Path) -> list[str]:
    """All files except hidden ones, sorted."""
    with os.scandir(folder) as entries:
        return sorted(e.path for e in entries if e.name[0] != "." and e.is_file())
