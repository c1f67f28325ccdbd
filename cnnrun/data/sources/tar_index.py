"""The offsets of samples in a tar file in WebDataset's layout, so that any can be read alone."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnrun.data.sources.tar_members import BrokenTarError, members
from cnnrun.errors import UserError

# Possible last extensions of an image's name.
IMAGE_ENDINGS = frozenset(("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm"))
# No class has a longer name (bytes).
_LONGEST_LABEL = 2**10

# Limit for names and labels of one tar in memory.
_MOST_BYTES = 2**31


@dataclass(frozen=True)
class TarIndex:
    """One entry for each sample, in the order of the tar.

    keys: (N,) names of the samples. offsets, sizes: (N,) int64, bytes of the images in the tar.
    labels: (N,) text of the label files, "" where there is none. total: bytes of the whole tar.
    """

    keys: NDArray[np.str_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.str_]
    total: int


def load_index(
    open_tar: Callable[[], BinaryIO], name: str, identity: str, label: str, folder: Path
) -> TarIndex:
    """The index of a tar, cached in `folder` by `identity` and `label`.

    open_tar: only called if there is no index yet. name: the tar's name in messages.
    identity: what identifies the tar, e.g. its path, size and time. label: the extension of the
        files with labels, e.g. `cls`.

    Raises:
        UserError: as `read_index`.
    """
    file = _index_file(identity, label, folder)
    found = stored_index(file)
    if found is None:
        with open_tar() as tar:
            found = read_index(tar, name, label)
        _store(found, file)
    return found


def _index_file(identity: str, label: str, folder: Path) -> Path:
    name = hashlib.sha256(f"{identity}\n{label}".encode()).hexdigest()[:32]
    return folder / f"{name}.npz"


def stored_index(file: Path) -> TarIndex | None:
    """The index in `file`; None if it is missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as held:
            return TarIndex(
                held["keys"], held["offsets"], held["sizes"], held["labels"], int(held["total"])
            )
    except Exception:  # whatever numpy raises for a damaged header
        return None


def _store(index: TarIndex, file: Path) -> None:
    """Written to a temporary file and renamed, as two runs may do so at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        np.savez(part, **vars(index))
    Path(part.name).replace(file)


def read_index(tar: BinaryIO, name: str, label: str) -> TarIndex:
    """Read `tar` once; nothing is unpacked, so names of members can do no harm.

    Raises:
        UserError: not a tar, or a compressed or damaged one.
    """
    total = os.fstat(tar.fileno()).st_size
    samples = list(_samples(tar, name, label, total))
    if not samples:
        raise UserError(
            f"{name}: holds no sample; an image `name.jpg` (or another of "
            f"{', '.join(sorted(IMAGE_ENDINGS))}) needs a label in `name.{label}`"
        )
    keys, offsets, sizes, labels = zip(*samples, strict=True)
    # All strings of an array take the length of the longest.
    needed = 4 * len(keys) * (max(map(len, keys)) + max(map(len, labels)))
    if needed > _MOST_BYTES:
        raise UserError(f"{name}: its names would take {needed / 1e9:,.0f} GB; shorten the longest")
    return TarIndex(
        np.array(keys),
        np.array(offsets, np.int64),
        np.array(sizes, np.int64),
        np.array(labels),
        total,
    )


def _samples(
    tar: BinaryIO, name: str, label: str, total: int
) -> Iterator[tuple[str, int, int, str]]:
    """Key, offset, size and label of each sample; files of one sample follow one another."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, str] = {}
    try:
        for member in members(tar, total):
            key, ending = _key_and_ending(member.name)
            if ending == label:
                if member.size > _LONGEST_LABEL:
                    raise BrokenTarError(f"'{member.name}' is not a label: {member.size:,} bytes")
                tar.seek(member.offset)
                labels[key] = tar.read(member.size).decode("utf-8", "replace").strip()
            elif ending.rpartition(".")[2] in IMAGE_ENDINGS:
                images.setdefault(key, (member.offset, member.size))
    except (BrokenTarError, OSError) as error:
        raise UserError(
            f"{name}: not a plain tar, or a broken one ({error}); a compressed one can't be read "
            "at random, so unpack it (gunzip) first"
        ) from error
    for key, (offset, size) in images.items():
        yield key, offset, size, labels.get(key, "")


def _key_and_ending(name: str) -> tuple[str, str]:
    """`train/00012.seg.png` is key `train/00012` and ending `seg.png`, in lower case."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    # macOS packs a companion `._name` next to every file.
    return (folder + slash + stem, ending.lower()) if stem else (name, "")
