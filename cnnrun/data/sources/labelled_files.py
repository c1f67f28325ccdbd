"""Image files with the names of their classes, listed by a folder or a table, as a data set."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.identity import ids_of_names
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.files import Files
from cnnrun.data.splits import chosen_by_key
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import derive_seed

# A share of the images (0.2) or a number of them (500).
Amount = Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=1)]

# Files, their labels (N,) int64, and the keys (N,) int64 that decide what is set aside.
Part = tuple[Files, Tensor, Tensor]


@dataclass
class Listing:
    """paths[i] is a file of class `classes[i]` and of the group `groups[i]`, if that has a name."""

    paths: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, paths: list[str], name: str, group: str = "") -> None:
        self.paths += paths
        self.classes += [name] * len(paths)
        self.groups += [group] * len(paths)


def labelled_dataset(
    where: str, root: str, listings: dict[str, Listing], test: Amount, options: ImageOptions
) -> Dataset:
    """The data set of the listings "train", "validation" and "test".

    Without a test listing, validation becomes the test split: it must not be used to choose
    anything, and a validation split can be set aside of training. With neither, about `test` of the
    training files are the test split: each file's own name (or group) decides.

    where: the folder or table, for messages. root: the folder that files are known from.

    Raises:
        UserError: nothing to train on, classes that training lacks, or bad images.
    """
    listings = {split: listing for split, listing in listings.items() if listing.paths}
    if options.whole and set(listings) == {"train"}:
        listings = {"test": listings["train"]}
    if "train" not in listings and not (options.whole and "test" in listings):
        raise UserError(f"{where}: there are no images to train on")
    named_by = listings["train" if "train" in listings else "test"]
    names = sorted(set(named_by.classes), key=natural_order)
    parts = {split: _part(where, root, split, held, names) for split, held in listings.items()}
    _tell_odd_labels(where, names, sum(len(held.paths) for held in listings.values()), options)
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        options.notes.append(
            f"{where} has no test split: its validation images are the test split, and those to "
            "choose by are set aside from training (dataset.validation)"
        )
    elif "test" not in parts:
        parts["train"], parts["test"] = _divided(where, *parts["train"], test)
        _tell_untested(where, names, parts["test"][1], options)
    splits = image_splits({name: part[:2] for name, part in parts.items()}, options)
    for name, (files, _, keys) in parts.items():
        splits[name] = replace(splits[name], keys=_kept(files, keys, splits[name]))
    nothing = splits["test"].take(torch.arange(0))
    train = splits.get("train", nothing)
    return Dataset(tuple(names), train, splits["test"], splits.get("validation"))


def _part(where: str, root: str, split: str, listing: Listing, names: list[str]) -> Part:
    files = Files(listing.paths, root)
    labels = _labels(f"{where}, {split}", listing, {name: k for k, name in enumerate(names)})
    alone = torch.tensor([not group for group in listing.groups])
    return files, labels, torch.where(alone, files.ids(), ids_of_names(listing.groups))


def _kept(files: Files, keys: Tensor, split: Split) -> Tensor:
    """The keys of the samples of `split`, from which bad files may have been left out."""
    if len(keys) == len(split):
        return keys
    known = dict(zip(files.ids().tolist(), keys.tolist(), strict=True))
    return torch.tensor([known[number] for number in split.ids.tolist()], dtype=torch.int64)


def _tell_untested(where: str, names: list[str], labels: Tensor, options: ImageOptions) -> None:
    tested = set(labels.tolist())
    untested = [name for k, name in enumerate(names) if k not in tested]
    if untested:
        options.notes.append(
            f"{where}: no test image of {len(untested):,} of {len(names):,} classes: "
            f"{listed(untested)} (a class keeps its only image to train on)"
        )


def _tell_odd_labels(where: str, names: list[str], count: int, options: ImageOptions) -> None:
    """Measurements are no classes, though they can be written into the same column."""
    measured = [name for name in names if re.fullmatch(r"[-+]?\d*[.,]\d+(e[-+]?\d+)?", name, re.I)]
    if len(measured) > 1 and len(measured) * 2 > len(names):
        options.notes.append(
            f"{where}: {len(names):,} classes for {count:,} images, named {listed(names, 3)}: "
            "these look like measurements; each value is taken for a class of its own"
        )
    elif len(names) > 20 and len(names) * 2 > count:
        options.notes.append(
            f"{where}: {len(names):,} classes for {count:,} images; is the right column or folder "
            "taken for the labels?"
        )


def _labels(where: str, listing: Listing, numbers: dict[str, int]) -> Tensor:
    unknown = sorted(set(listing.classes) - set(numbers), key=natural_order)
    if unknown:
        raise UserError(
            f"{where}: there are classes that training has no images of: {listed(unknown)}; "
            "add them to training, or remove them here"
        )
    return torch.tensor([numbers[name] for name in listing.classes], dtype=torch.int64)


def _divided(
    where: str, files: Files, labels: Tensor, keys: Tensor, test: Amount
) -> tuple[Part, Part]:
    """(train, test), before any file is read: a bad one moves no other to another split."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[chosen_by_key(keys, labels, test, derive_seed(0, "test split"))] = True
    if (isinstance(test, int) and test >= len(labels)) or not chosen.any():
        raise UserError(
            f"{where}: test: {test} of {len(labels):,} images leaves none to train on or none to "
            "test on, as every class keeps one to train on; give test images of their own"
        )

    def part(mask: Tensor) -> Part:
        indices = mask.nonzero().squeeze(1)
        paths = [files.paths[i] for i in indices.tolist()]
        return Files(paths, files.root), labels[indices], keys[indices]

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
