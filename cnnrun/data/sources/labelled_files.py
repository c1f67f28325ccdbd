"""Image files with the names of their classes, listed by a folder or table, as a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.identity import ids_of_names
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.files import Files
from cnnrun.data.sources.listed_names import listed
from cnnrun.data.sources.listed_targets import OneClass, Reading, Said
from cnnrun.data.splits import chosen_by_key, divided
from cnnrun.data.target_kind import Targets
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import derive_seed

# A fraction of the images (0.2) or a number of them (500).
Amount = Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=1)]

# Files, their targets, and the keys (N,) int64 that decide which are held out.
Part = tuple[Files, Targets, Tensor]

_CLASSES = OneClass()


@dataclass
class Listing:
    """paths[i] is a file with the target `answers[i]`, in the group `groups[i]`, if any.

    answers: what the `Reading` takes, e.g. names of classes.
    """

    paths: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, paths: list[str], answer: Any, group: str = "") -> None:
        self.paths += paths
        self.answers += [answer] * len(paths)
        self.groups += [group] * len(paths)


def labelled_dataset(
    where: str,
    root: str,
    listings: dict[str, Listing],
    test: Amount,
    options: ImageOptions,
    reading: Reading = _CLASSES,
) -> Dataset:
    """The data set of the listings "train", "validation" and "test".

    Without a test listing, validation becomes the test split: it must not be used to choose
    anything, and a validation split can be held out from training. With neither, about `test` of
    the training files are the test split: each file's own name (or group) decides.

    where: the folder or table, for messages. root: the folder that identifies files.

    Raises:
        UserError: no training images, classes without training images, or bad images.
    """
    listings = {split: listing for split, listing in listings.items() if listing.paths}
    if options.whole and set(listings) == {"train"}:
        listings = {"test": listings["train"]}
    if "train" not in listings and not (options.whole and "test" in listings):
        raise UserError(f"{where}: there are no images to train on")
    named_by = listings["train" if "train" in listings else "test"]
    names = reading.names(named_by.answers)
    parts = {
        split: _part(where, root, split, held, names, reading) for split, held in listings.items()
    }
    if isinstance(reading, OneClass):
        _warn_of_odd_labels(
            where, names, sum(len(held.paths) for held in listings.values()), options
        )
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        options.notes.append(
            f"{where} has no test split: its validation images are the test split, and those to "
            "choose by are set aside from training (dataset.validation)"
        )
    elif "test" not in parts:
        parts["train"], parts["test"] = _divided(where, *parts["train"], test)
        if isinstance(reading, OneClass):
            _warn_of_untested(where, names, parts["test"][1].held, options)
    splits = image_splits({name: part[:2] for name, part in parts.items()}, options)
    for name, (files, _, keys) in parts.items():
        splits[name] = replace(splits[name], keys=_kept(files, keys, splits[name]))
    splits, names = reading.finished(splits, names, options)
    nothing = splits["test"].take(torch.arange(0))
    train = splits.get("train", nothing)
    return Dataset(tuple(names), train, splits["test"], splits.get("validation"))


def _part(
    where: str, root: str, split: str, listing: Listing, names: list[str], reading: Reading
) -> Part:
    files = Files(listing.paths, root)
    targets = reading.targets(Said(f"{where}, {split}", listing.paths, listing.answers), names)
    alone = torch.tensor([not group for group in listing.groups])
    return files, targets, torch.where(alone, files.ids(), ids_of_names(listing.groups))


def _kept(files: Files, keys: Tensor, split: Split) -> Tensor:
    """The keys of the samples of `split`, without bad files that were left out."""
    if len(keys) == len(split):
        return keys
    known = dict(zip(files.ids().tolist(), keys.tolist(), strict=True))
    return torch.tensor([known[number] for number in split.ids.tolist()], dtype=torch.int64)


def _warn_of_untested(where: str, names: list[str], labels: Tensor, options: ImageOptions) -> None:
    tested = set(labels.tolist())
    untested = [name for k, name in enumerate(names) if k not in tested]
    if untested:
        options.notes.append(
            f"{where}: no test image of {len(untested):,} of {len(names):,} classes: "
            f"{listed(untested)} (each file's name decides its split, and a class keeps at least "
            "one image to train on; the folders train and test decide it otherwise)"
        )


def _warn_of_odd_labels(where: str, names: list[str], count: int, options: ImageOptions) -> None:
    """Warn if the labels look like measurements instead of classes."""
    measured = [name for name in names if re.fullmatch(r"[-+]?\d*[.,]\d+(e[-+]?\d+)?", name, re.I)]
    if len(measured) > 1 and len(measured) * 2 > len(names):
        options.notes.append(
            f"{where}: {len(names):,} classes for {count:,} images, named {listed(names, 3)}: "
            "these look like measurements; each value becomes a class of its own"
        )
    elif len(names) > 20 and len(names) * 2 > count:
        options.notes.append(
            f"{where}: {len(names):,} classes for {count:,} images; is this the right column or "
            "folder for the labels?"
        )


def _divided(
    where: str, files: Files, targets: Targets, keys: Tensor, test: Amount
) -> tuple[Part, Part]:
    """(train, test), before any file is read: so a bad file moves no other to another split."""
    chosen = torch.zeros(len(targets), dtype=torch.bool)
    chosen[chosen_by_key(keys, targets.strata, test, derive_seed(0, "test split"))] = True
    if (isinstance(test, int) and test >= len(targets)) or not chosen.any():
        raise UserError(
            f"{where}: test: {test} of {len(targets):,} images leaves none to train on or none to "
            "test on, as every class keeps one to train on; give test images of their own"
        )

    def part(mask: Tensor) -> Part:
        indices = mask.nonzero().squeeze(1)
        return files.take(indices), targets.take(indices), keys[indices]

    return part(~chosen), part(chosen)


def divided_by_content(path: str, split: Split, test: Amount, whole: bool) -> dict[str, Split]:
    """Training and test split, by content; all is tested if the `whole` is to be scored."""
    split = replace(split, keys=split.contents)
    if whole:
        return {"train": split.take(torch.arange(0)), "test": split}
    assert split.keys is not None
    chosen = chosen_by_key(split.keys, split.targets.strata, test, derive_seed(0, "test split"))
    if (isinstance(test, int) and test >= len(split)) or not len(chosen):
        raise UserError(
            f"{path}: test: {test} of {len(split):,} images leaves none to train on or none to "
            "test on, as every class keeps one to train on"
        )
    train, tested = divided(split, chosen)
    return {"train": train, "test": tested}
