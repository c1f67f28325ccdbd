"""Images in folders, one for each class."""

from __future__ import annotations

import os
from pathlib import Path

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.folder_listing import (
    entries,
    folders,
    identities,
    images_below,
    is_folder,
    is_image,
    run_around,
    run_below,
)
from cnnrun.data.sources.groups import By, sources, warn_of_series
from cnnrun.data.sources.labelled_files import Amount, Listing, labelled_dataset
from cnnrun.data.sources.listed_names import class_name, listed, natural_order
from cnnrun.data.sources.split_names import split_named, splits_named
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

_FORM = "<folder>/<class>/<image>"


@datasets.register("folder")
def folder(
    options: ImageOptions,
    *,
    root: str,
    test: Amount = 0.2,
    group: By | None = None,
) -> Dataset:
    """Your own images: `root/train/CLASS/*.jpg`, or `root/CLASS/*.jpg` to be split.

    Labels number the training classes in natural order (9 before 10).

    Folders within a class folder belong to the class. Hidden files and system files are skipped,
    and so is a `test` without class folders, which has no labels.

    Each file's own name decides which split it is in, so adding or removing others does not move
    it, and every class keeps a training image. Where there is `val` but no `test`, `val` is the
    test split, and `dataset.validation` is set aside from `train`.

    root: Folder with `train`, `val` and `test` (or the like) and class folders in each, or with the
        class folders themselves.
    test: Where there is neither `val` nor `test`, about this fraction of the images (or this many)
        is the test split.
    group: What comes from one source is never divided between splits: files of one `folder` below a
        class folder, or files whose `name` is the same up to its last number.

    Raises:
        UserError: no such folder, no images, images without class folders, classes that
            training lacks, or bad images.
    """
    base = expanded(root)
    if not base.is_dir():
        raise UserError(f"dataset.root: there is no folder {root} (paths are from {Path.cwd()})")
    _check_is_no_run(base)
    places, left_out = _named_splits(base, options)
    listings = {split: Listing() for split in ("train", "validation", "test")}
    for split in listings:
        if split in places and not _is_unlabelled(places[split], split, listings, options):
            _list_classes(places[split], listings[split], options, split == "train", left_out)
            if group:
                listings[split].groups = sources(listings[split].paths, places[split], group)
    if not group and "test" not in places and "train" in places:
        held = listings["train"]
        warn_of_series(held.paths, held.answers, places["train"], options)
    return labelled_dataset(root, str(base), listings, test, options)


def _check_is_no_run(base: Path) -> None:
    """Refuse run directories and folders of runs: their images are plots."""
    if run := run_around(base) or run_below(base):
        raise UserError(
            f"dataset.root: the images in the run directory {run} are its own plots; name the "
            "folder of the images to train on"
        )


def _named_splits(base: Path, options: ImageOptions) -> tuple[dict[str, str], list[str]]:
    """Folders by split, and unlabelled ones next to class folders.

    If no folder is called `train`, `base` itself is the training split.
    """
    tops = {entry.name: entry.path for entry in folders(str(base))}
    splits = splits_named(tops)
    found: dict[str, str] = {}
    for name, split in splits.items():
        if split in found:
            raise UserError(f"{base}: {Path(found[split]).name} and {name} are both {split}")
        found[split] = _unwrapped(tops[name])
    others = [name for name in tops if name not in splits]
    unlabelled = found.pop("unlabelled", None)
    if "train" in found:
        others += [unlabelled] if unlabelled else []
        if others:
            options.notes.append(f"{base}: {listed(others)} next to the splits are not used")
        return found, []
    if found and not others:
        if options.whole and "test" in found:
            return found, []
        raise UserError(f"{base} has {listed(tops)}, but no folder `train`")
    for split, path in found.items():
        if folders(path):
            name = next(name for name, said in splits.items() if said == split)
            raise UserError(
                f"{base}: {name} looks like the {split} split, but next to it are "
                f"{listed(others)} and no `train`; move these into a folder `train`, or rename it"
            )
    return {"train": str(base)}, [
        tops[name] for name, split in splits.items() if split in ("test", "unlabelled")
    ]


def _unwrapped(path: str) -> str:
    """`path`, or the folder of the same name in it, as in some archives: `seg_train/seg_train`."""
    inner = folders(path)
    if len(inner) == 1 and _same_split(inner[0].name, Path(path).name):
        loose = any(not is_folder(e) and is_image(e) for e in entries(path))
        return path if loose else _unwrapped(inner[0].path)
    return path


def _same_split(inner: str, outer: str) -> bool:
    return inner == outer or (split_named(inner) == split_named(outer) is not None)


def _is_unlabelled(
    path: str, split: str, listings: dict[str, Listing], options: ImageOptions
) -> bool:
    """Whether a test split has no class folders, as its labels were never published; notes it."""
    if split != "test":
        return False
    inner = [class_name(entry.name) for entry in folders(path)]
    known = set(listings["train"].answers)
    if inner and (len(inner) > 1 or inner[0] in known or not known):
        return False
    _warn_of_unlabelled(path, options)
    return True


def _warn_of_unlabelled(path: str, options: ImageOptions) -> None:
    count = len(images_below(path)[0])
    options.notes.append(
        f"{path}: {count:,} images are left out: they are in no "
        f"class folder, so their classes are unknown"
    )


def _list_classes(
    path: str,
    listing: Listing,
    options: ImageOptions,
    must_be_there: bool,
    left_out: list[str],
) -> None:
    """Add the images of all class folders in `path`."""
    found_here = entries(path)
    classes = [e for e in found_here if is_folder(e) and e.path not in left_out]
    classes.sort(key=lambda e: natural_order(e.name))
    loose = sum(1 for e in found_here if not is_folder(e) and is_image(e))
    if not classes:
        what = f"{loose:,} images, but no class folders" if loose else "no class folders"
        raise UserError(f"{path} has {what}; expected images as {_FORM}")
    empty, others, above = [], 0, identities(path)
    for entry in classes:
        found, passed_over = images_below(entry.path, above)
        listing.add(found, class_name(entry.name))
        others += passed_over
        if not found:
            empty.append(entry.name)
    if not listing.paths and must_be_there:
        raise UserError(f"{path}: there are no images in {listed(empty)}; expected {_FORM}")
    for unlabelled in left_out:
        _warn_of_unlabelled(unlabelled, options)
    if empty:
        options.notes.append(f"{path}: no images in {listed(map(class_name, empty))}")
    if loose:
        options.notes.append(f"{path}: {loose:,} images outside class folders are not used")
    if others:
        options.notes.append(f"{path}: skipped {others:,} files that are not images")
    if must_be_there:
        _warn_of_odd_classes(path, classes, options)


def _warn_of_odd_classes(path: str, classes: list[os.DirEntry[str]], options: ImageOptions) -> None:
    """Note folders that look one level too high, or splits used as classes."""
    inner = [sorted(entry.name for entry in folders(cls.path)) for cls in classes]
    alike = len(inner[0]) > 1 and all(names == inner[0] for names in inner)
    if len(classes) == 1 and inner[0]:
        options.notes.append(
            f"{path} has one folder, {classes[0].name}, which is read as the only class; if the "
            f"classes are {listed(inner[0])}, name {classes[0].path}"
        )
    elif alike:
        options.notes.append(
            f"{path}: all class folders ({listed(c.name for c in classes)}) hold the same folders "
            f"{listed(inner[0])}; they are read as parts of the classes, not as the classes"
        )
    odd = [entry.name for entry in classes if split_named(entry.name)]
    if odd:
        options.notes.append(f"{path}: {listed(odd)} is named like a split, but read as a class")
