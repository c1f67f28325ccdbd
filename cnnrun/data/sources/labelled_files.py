"""Image files with the names of their classes, listed by a folder or a table, as a data set."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.assemble import picture_splits
from cnnrun.data.images.decoding import PictureOptions
from cnnrun.data.images.files import Files
from cnnrun.data.splits import stratified_choice
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import derive_seed

# A share of the pictures (0.2) or a number of them (500).
Amount = Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=1)]

# What people call the splits, in any case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass
class Listing:
    """paths[i] is a file of class `classes[i]`."""

    paths: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def add(self, paths: list[str], name: str) -> None:
        self.paths += paths
        self.classes += [name] * len(paths)


def labelled_dataset(
    where: str, root: str, listings: dict[str, Listing], test: Amount, pictures: PictureOptions
) -> Dataset:
    """The data set of the listings "train", "validation" and "test".

    Without a test listing, validation becomes the test split: it must not be used to choose
    anything, and a validation split can be set aside of training. With neither, `test` of the
    training files are the test split, the same ones each time, each class with its share.

    where: the folder or table, for messages. root: the folder that files are known from.

    Raises:
        UserError: nothing to train on, classes that training lacks, or bad pictures.
    """
    if not listings["train"].paths:
        raise UserError(f"{where}: there are no pictures to train on")
    names = sorted(set(listings["train"].classes), key=natural_order)
    numbers = {name: k for k, name in enumerate(names)}
    parts = {
        split: (Files(listing.paths, root), _labels(f"{where}, {split}", listing, numbers))
        for split, listing in listings.items()
        if listing.paths
    }
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        pictures.notes.append(
            f"{where} has no test split: its validation pictures are the test split, and those to "
            "choose by are set aside from training (dataset.validation)"
        )
    elif "test" not in parts:
        parts["train"], parts["test"] = _divided(where, *parts["train"], test)
    splits = picture_splits(parts, pictures)
    return Dataset(tuple(names), splits["train"], splits["test"], splits.get("validation"))


def _labels(where: str, listing: Listing, numbers: dict[str, int]) -> Tensor:
    unknown = sorted(set(listing.classes) - set(numbers), key=natural_order)
    if unknown:
        raise UserError(
            f"{where}: there are classes that training has no pictures of: {listed(unknown)}; "
            "add them to training, or remove them here"
        )
    return torch.tensor([numbers[name] for name in listing.classes], dtype=torch.int64)


def _divided(
    where: str, files: Files, labels: Tensor, test: Amount
) -> tuple[tuple[Files, Tensor], tuple[Files, Tensor]]:
    """(train, test), before any file is read: a bad one moves no other to another split."""
    count = round(test * len(labels)) if isinstance(test, float) else test
    if not 0 < count < len(labels):
        raise UserError(
            f"{where}: test: {test} of {len(labels):,} pictures leaves none to train on or none "
            "to test on"
        )
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[stratified_choice(labels, count, derive_seed(0, "test split"))] = True

    def part(mask: Tensor) -> tuple[Files, Tensor]:
        indices = mask.nonzero().squeeze(1)
        return Files([files.paths[i] for i in indices.tolist()], files.root), labels[indices]

    return part(~chosen), part(chosen)


def class_name(name: str) -> str:
    """The name as text can show it, the same however a system composes its accents."""
    shown = os.fsencode(name).decode("utf-8", "replace")
    return unicodedata.normalize("NFC", shown)


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts 9 before 10."""
    words = re.findall(r"(\d+)|(\D+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text) for digits, text in words], name


def listed(names: Iterable[str], limit: int = 8) -> str:
    """The first few of many names."""
    some = list(names)
    more = f" and {len(some) - limit:,} more" if len(some) > limit else ""
    return ", ".join(some[:limit]) + more
