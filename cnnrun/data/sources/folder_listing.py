"""The contents of folders: image files and folders, without system files, loops and devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from cnnrun.errors import UserError

# What systems and tools leave in folders, in lower case, also with a leading dot.
_LITTER = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("__macosx", "__pycache__", "@eadir", "lost+found"),
    }
)
_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".png", ".apng", ".webp", ".avif"),
    *(".gif", ".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx"),
    *(".ico", ".heic", ".heif", ".dcm", ".dicom"),
)
IMAGE_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run directory, whose images are plots."""
    return (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir()


def run_around(folder: Path) -> Path | None:
    """The run directory that `folder` is, or is in."""
    here = folder.resolve()
    return next((place for place in (here, *here.parents) if is_run(place)), None)


def run_below(folder: Path) -> Path | None:
    """A run directory in `folder`, or one further down, as in `runs/NAME/RUN`.

    A class folder may have a million entries; a few are enough.
    """
    tops = [Path(entry.path) for entry in folders(str(folder))]
    below = (Path(e.path) for top in tops for e in _some_entries(top) if is_folder(e))
    return next(filter(is_run, (*tops, *below)), None)


def _some_entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(islice(listing, 5))
    except OSError:  # reported when the folder is read
        return []


def identities(folder: str) -> frozenset[tuple[int, int]]:
    """Of the folder and all its parents: no link is followed back to one of them."""
    place = Path(folder).resolve()
    return frozenset(map(_identity, [place, *place.parents]))


def images_below(
    path: str, above: frozenset[tuple[int, int]] = frozenset()
) -> tuple[list[str], int]:
    """(sorted paths of image files; number of other files), in all folders below. above:

    `identities` of the folder that contains `path`.

    Raises:
        UserError: a folder can't be read.
    """
    images: list[str] = []
    others = 0
    for entry in _walk(path, above):
        if is_image(entry):
            images.append(entry.path)
        else:
            others += 1
    images.sort()
    return images, others


def _walk(path: str, above: frozenset[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """The files below `path`; links back to a parent folder are not followed."""
    here = _identity(Path(path))
    if here in above:
        return
    for entry in entries(path):
        if is_folder(entry):
            yield from _walk(entry.path, above | {here})
        else:
            yield entry


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def entries(path: str) -> list[os.DirEntry[str]]:
    """The folder's entries, without system files.

    Raises:
        UserError: it can't be read.
    """
    try:
        with os.scandir(path) as found:
            return [e for e in found if e.name[0] != "." and e.name.lower() not in _LITTER]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def folders(path: str) -> list[os.DirEntry[str]]:
    """The folders in the folder."""
    return [entry for entry in entries(path) if is_folder(entry)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_image(entry: os.DirEntry[str]) -> bool:
    """By its extension; a file with another extension, or none, by its first bytes."""
    if entry.name.lower().endswith(_ENDINGS):
        # A broken link is listed, so that it is reported as a bad file.
        return entry.is_symlink() or entry.is_file()
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:  # noqa: PTH123  (a Path for each file is slow)
            return file.read(8).startswith(IMAGE_BEGINNINGS)
    except OSError:
        return False
