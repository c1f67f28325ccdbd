"""Decoded and resized images, kept in memory or in a file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnrun.data.dataset import Images
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.files import Encoded
from cnnrun.data.images.scan import (
    Findings,
    cache_folder,
    cache_key,
    partial_path,
    read_findings,
    scan,
    write_findings,
)
from cnnrun.errors import UserError
from cnnrun.runtime.files import write_text
from cnnrun.runtime.reading import read_text

# Up to this size (bytes), images are one tensor, which can be copied to the device as a whole.
_SMALL = 2**30
_A_DAY = 86_400
_PIECE = 2**24
# The names that `partial_path` gives to files of caches, and nothing else has.
_PARTIAL = re.compile(r"[a-z]+-[0-9a-f]{32}\.[a-z]+\.[0-9]+-[0-9a-f]{8}\.partial")


class StoredImages:
    """Images in memory or in a mapped file, copied out batch by batch."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """rows: (N, C, H, W) uint8."""
        self._rows = rows

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self._rows.shape)

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The images at `indices` (M,) int64: (M, C, H, W) uint8, 0..255."""
        return torch.from_numpy(np.take(self._rows, indices.numpy(), axis=0))


def in_memory(files: Encoded, form: ImageFormat, options: ImageOptions) -> tuple[Images, Findings]:
    """All images, decoded now; rows of bad files are black."""
    shape = _shape(files, form)
    images = torch.zeros(shape, dtype=torch.uint8)
    findings = scan(files, options, form, images)
    small = images.numel() <= _SMALL
    return (images if small else StoredImages(images.numpy())), findings


def on_disk(files: Encoded, form: ImageFormat, options: ImageOptions) -> tuple[Images, Findings]:
    """All images as a mapped file, decoded now if files or settings are new or changed.

    Two runs may do this at once: each writes its own file and renames it when done.

    Raises:
        UserError: the folder can't be written to, or the disk is full.
    """
    folder = cache_folder(options)
    stored = folder / f"pictures-{cache_key(files, form)}.npy"
    findings = read_findings(stored.with_suffix(".json"))
    rows = _mapped(stored, _shape(files, form)) if findings else None
    if findings is None or rows is None or not _has_its_checksum(stored, rows):
        try:
            findings = _build(stored, files, form, options)
        except OSError as error:
            raise UserError(
                f"dataset.cache: {folder}: {error.strerror or error}; "
                "set dataset.cache_dir to another folder"
            ) from error
        rows = _mapped(stored, _shape(files, form))
        assert rows is not None
    return StoredImages(rows), findings


def _shape(files: Encoded, form: ImageFormat) -> tuple[int, int, int, int]:
    return (len(files), form.channels, *form.size)


def _mapped(stored: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The file as an array; None if it is missing or damaged."""
    try:
        rows: NDArray[Any] = np.load(stored, mmap_mode="r", allow_pickle=False)
    except Exception:  # whatever numpy raises for a damaged header
        return None
    return rows if rows.shape == shape and rows.dtype == np.uint8 else None


def _has_its_checksum(stored: Path, rows: NDArray[np.uint8]) -> bool:
    """Whether the images are those that were written. Reading them all costs what the first epoch
    would: it loads them from disk into memory, at 1 to 3 GB/s."""
    try:
        return int(read_text(stored.with_suffix(".crc")), 16) == _checksum(rows)
    except (UserError, ValueError):
        return False


def _checksum(rows: NDArray[np.uint8]) -> int:
    """CRC-32 of all bytes: against accidents, not attacks."""
    found = 0
    flat = rows.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        found = zlib.crc32(flat[start : start + _PIECE].data, found)
    return found


def _build(stored: Path, files: Encoded, form: ImageFormat, options: ImageOptions) -> Findings:
    stored.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(stored.parent)
    shape = _shape(files, form)
    partial = partial_path(stored)
    _require_space(stored.parent, int(np.prod(shape)))
    try:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(partial)
        findings = scan(files, options, form, torch.from_numpy(rows))
        rows.flush()
        write_text(stored.with_suffix(".crc"), f"{_checksum(rows):08x}\n")
        del rows  # Windows can't rename a mapped file
        _put_in_place(partial, stored)
    finally:
        partial.unlink(missing_ok=True)
    # Written last: it marks the images as complete.
    write_findings(stored.with_suffix(".json"), findings)
    return findings


def _put_in_place(partial: Path, stored: Path) -> None:
    try:
        partial.replace(stored)
    except PermissionError:  # Windows, where another run has the same file mapped already
        if not stored.exists():
            raise


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"dataset.cache: the images need {needed / 1e9:.1f} GB in {folder}, where "
            f"{free / 1e9:.1f} GB are free; set dataset.cache_dir to another folder"
        )


def _reserve(path: Path) -> None:
    """Allocate the file's space now: a mapped write to a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _remove_leftovers(folder: Path) -> None:
    """Remove partial files of killed runs."""
    for partial in folder.glob("*.partial"):
        with contextlib.suppress(OSError):
            if _PARTIAL.fullmatch(partial.name) and time.time() - partial.stat().st_mtime > _A_DAY:
                partial.unlink()
