"""The format that images are decoded to, and one image file as a tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cnnrun.data.dataset import BadFile
from cnnrun.data.images.formats import open_image
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.reading import AS_STORED, ImageReading
from cnnrun.data.images.window import Window
from cnnrun.errors import UserError
from cnnrun.runtime import reading
from cnnrun.runtime.printable import printable

Resize = Literal["crop", "squash", "pad"]
Check = Literal["auto", "all", "first_use", "none"]


@dataclass(frozen=True)
class ImageFormat:
    """The format that every image is converted to.

    size: (height, width).
    channels: 1 (gray) or 3 (RGB).
    resize: "crop" takes the largest part in the middle that has the wanted proportions, "squash"
        the whole whatever its proportions, "pad" the whole within black borders.
    reading: which stored values are black and white, and which page of a file is meant.
    crop_fraction: part of the height and width of what `resize` takes that is kept, in its middle.
    """

    size: tuple[int, int]
    channels: int
    resize: Resize = "crop"
    reading: ImageReading = AS_STORED
    crop_fraction: float = 1.0


@dataclass(frozen=True)
class ImageOptions:
    """The `dataset` section's options for images in files, as given to sources.

    size, channels, resize, reading, crop_fraction: as in `ImageFormat`; size None is the files' own
        where all have one, channels None is gray where all that are looked at are gray, or else
        RGB; without a range, 16-bit gray is refused where nothing would be brighter than 16 of
        255.
    on_error: "stop" refuses a data set with bad files, "skip" leaves them out.
    check: which files are decoded to find the bad ones before any is used, see `check.py`.
    cache: where decoded and resized images are kept: nowhere, in memory, or in a file on disk.
    cache_dir: folder of the disk cache and of findings about files; None: the platform's.
    threads: number of decoders; None: one per core.
    whole: the data set is only scored: without splits of its own, all of it is the test split, and
        nothing is needed to train on.
    progress: called with the kind of work, images done and images in all.
    bad_files, notes: findings of the sources, for the run directory and the user.
    """

    size: tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    resize: Resize = "crop"
    reading: ImageReading = AS_STORED
    crop_fraction: float = 1.0
    on_error: Literal["stop", "skip"] = "stop"
    check: Check = "auto"
    cache: Literal["none", "ram", "disk"] = "none"
    cache_dir: str | None = None
    threads: int | None = None
    whole: bool = False
    progress: Callable[[str, int, int], None] | None = field(default=None, compare=False)
    bad_files: list[BadFile] = field(default_factory=list, compare=False)
    notes: list[str] = field(default_factory=list, compare=False)


class BadImageError(UserError):
    """Files that can't be decoded, as `files`."""

    def __init__(self, files: list[BadFile], advice: str = "") -> None:
        self.files = files
        lines = [f"{printable(bad.path)}: {bad.reason}" for bad in files[:5]]
        if len(files) > len(lines):
            lines.append(f"... and {len(files) - len(lines):,} more")
        super().__init__("\n".join([*lines, *([advice] if advice else [])]))


def decode(path: str | Path, channels: int) -> Tensor:
    """The image in the file at its own size: (C, H, W) uint8, 0..255; `channels` is 1 or 3.

    Upright by its EXIF orientation; the first of several frames; for color modes and bit depths see
    `as_8_bit`.

    Raises:
        BadImageError: not an image, damaged, truncated, empty, too large, or unreadable.
    """
    try:
        image = open_image(read_bytes(path))
        height, width = image.size
        pixels = image.read(channels, Window(0, 0, height, width), image.size)
    except UnreadableError as error:
        raise BadImageError([BadFile(str(path), str(error))]) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_bytes(path: str | Path) -> bytes:
    """The content of the file.

    Raises:
        UnreadableError: it can't be read.
    """
    try:
        return reading.read_bytes(path, reading.IMAGE_BYTES)
    except reading.UnusableFileError as error:
        raise UnreadableError(str(error)) from error
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
