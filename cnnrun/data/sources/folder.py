"""Pictures in folders, one for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import PictureOptions
from cnnrun.data.sources.labelled_files import (
    SPLIT_NAMES,
    Amount,
    Listing,
    class_name,
    labelled_dataset,
    listed,
    natural_order,
)
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded

# What systems and tools leave in folders, in lower case; so do they with a dot in front.
_LITTER = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("__macosx", "__pycache__", "@eadir", "lost+found"),
    }
)
_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".png", ".apng", ".webp", ".avif"),
    *(".gif", ".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx"),
    *(".ico", ".heic", ".heif"),
)
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")

_FORM = "<folder>/<class>/<picture>"


@datasets.register("folder")
def folder(pictures: PictureOptions, *, root: str, test: Amount = 0.2) -> Dataset:
    """Your own pictures: `root/train/CLASS/*.jpg`, or `root/CLASS/*.jpg` to be split.

    root: has either the folders `train`, `val` (or `valid`, `validation`) and `test`, each with a
        folder for each class; or the class folders themselves. Folders within a class folder
        belong to the class. Hidden files and what systems leave behind are passed over.
    test: where there is neither `val` nor `test`, this share of the pictures (or number of them) is
        the test split: always the same ones, each class with its share. Where there is `val` but
        no `test`, `val` is the test split, and `dataset.validation` is set aside from `train`.

    The labels are numbers of the training classes in natural order (9 before 10).

    Raises:
        UserError: no such folder, no pictures, pictures without class folders, classes that
            training lacks, or bad pictures.
    """
    base = expanded(root)
    if not base.is_dir():
        raise UserError(f"dataset.root: there is no folder {root} (paths are from {Path.cwd()})")
    tops = {entry.name: entry.path for entry in _entries(str(base)) if _is_folder(entry)}
    named = _named_splits(base, tops)
    listings = {split: Listing() for split in ("train", "validation", "test")}
    for split, path in (named or {"train": str(base)}).items():
        _list_classes(path, listings[split], pictures, must_be_there=split == "train")
    return labelled_dataset(root, str(base), listings, test, pictures)


def _named_splits(base: Path, tops: dict[str, str]) -> dict[str, str]:
    """Folders of splits, if there is one called `train`, by the splits' names here."""
    found: dict[str, str] = {}
    for name, path in tops.items():
        split = SPLIT_NAMES.get(name.lower())
        if split in found:
            raise UserError(f"{base}: {Path(found[split]).name} and {name} are both {split}")
        if split:
            found[split] = path
    if "train" in found:
        return found
    if found and len(found) == len(tops):
        raise UserError(f"{base} has {listed(tops)}, but no folder `train`")
    return {}


def _list_classes(
    path: str, listing: Listing, pictures: PictureOptions, must_be_there: bool
) -> None:
    """Add the pictures of all class folders in `path`."""
    entries = _entries(path)
    folders = sorted((e for e in entries if _is_folder(e)), key=lambda e: natural_order(e.name))
    loose = sum(1 for e in entries if not _is_folder(e) and _is_image(e))
    if not folders:
        what = f"{loose:,} pictures, but no class folders" if loose else "no class folders"
        raise UserError(f"{path} has {what}; pictures are to lie as {_FORM}")
    empty, others = [], 0
    above = frozenset(map(_identity, [Path(path).resolve(), *Path(path).resolve().parents]))
    for entry in folders:
        found, passed_over = images_below(entry.path, above)
        listing.add(found, class_name(entry.name))
        others += passed_over
        if not found:
            empty.append(entry.name)
    if not listing.paths and must_be_there:
        raise UserError(f"{path}: there are no pictures in {listed(empty)}; the form is {_FORM}")
    if empty:
        pictures.notes.append(f"{path}: no pictures in {listed(map(class_name, empty))}")
    if loose:
        pictures.notes.append(f"{path}: {loose:,} pictures outside class folders are not used")
    if others:
        pictures.notes.append(f"{path}: passed over {others:,} files that are no pictures")


def images_below(path: str, above: frozenset[tuple[int, int]]) -> tuple[list[str], int]:
    """(paths of image files, sorted; how many other files there are), in all folders below."""
    images: list[str] = []
    others = 0
    for entry in _walk(path, above):
        if _is_image(entry):
            images.append(entry.path)
        else:
            others += 1
    images.sort()
    return images, others


def _walk(path: str, above: frozenset[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """The files below `path`; a link back to a folder that it lies in is not followed."""
    here = _identity(Path(path))
    if here in above:
        return
    for entry in _entries(path):
        if _is_folder(entry):
            yield from _walk(entry.path, above | {here})
        else:
            yield entry


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _entries(path: str) -> list[os.DirEntry[str]]:
    """What lies in the folder, litter left out."""
    try:
        with os.scandir(path) as found:
            return [e for e in found if e.name[0] != "." and e.name.lower() not in _LITTER]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    """By its ending; a file with another ending, or none, by its first bytes."""
    if entry.name.lower().endswith(_ENDINGS):
        # A link that leads nowhere is listed, so that it comes up as a bad file.
        return entry.is_symlink() or entry.is_file()
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:  # noqa: PTH123  (a Path for each file is slow)
            return file.read(8).startswith(_BEGINNINGS)
    except OSError:
        return False
