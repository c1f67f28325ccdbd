"""Every file is decoded once before training: bad ones are found before they cost a night."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import __version__ as pillow_version
from torch import Tensor

from cnnrun.data.dataset import BadFile
from cnnrun.data.identity import id_of_content
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.files import Encoded, for_each_with_progress
from cnnrun.data.images.formats import has_several, open_image
from cnnrun.data.images.framing import frame
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.reading import ImageReading
from cnnrun.errors import UserError
from cnnrun.runtime import paths
from cnnrun.runtime.reading import read_json
from cnnrun.runtime.strict_json import to_json

# Part of the caches' keys: raise it when the same file gives other pixels.
_VERSION = 3


@dataclass(frozen=True)
class Findings:
    """Findings of decoding N files, or some of them.

    bad: reasons by index. modes: number of files by Pillow's mode. contents: (N,) int64, equal for
    files with the same bytes; 0 for unreadable ones. highest: largest value in gray images of more
    than 8 bits; -1 without such. several: number of files with more than one page or frame.
    """

    bad: dict[int, str]
    modes: Counter[str]
    contents: Tensor
    highest: int = -1
    several: int = 0

    def bad_files(self, files: Encoded) -> list[BadFile]:
        return [BadFile(files.name(index), reason) for index, reason in self.bad.items()]


def scan(
    files: Encoded,
    options: ImageOptions,
    form: ImageFormat | None = None,
    into: Tensor | None = None,
    numbers: Sequence[int] | None = None,
) -> Findings:
    """Decode all files completely; with `into` (N, C, H, W) uint8, store them there in `form`.

    numbers: indices of the files to decode, if not all. Rows of bad files are not written.
    """
    numbers = range(len(files)) if numbers is None else numbers
    bad: dict[int, str] = {}
    modes: list[str] = [""] * len(files)
    contents = torch.zeros(len(files), dtype=torch.int64)
    highest, several = [-1], [0]  # threads append

    def look(index: int) -> None:
        try:
            content = files.read(index)
            contents[index] = id_of_content(content)
            if into is None or form is None:
                image = open_image(content, options.reading)
                image.check()
            else:
                image = frame(content, form, into[index : index + 1])
            modes[index] = image.mode
            if (value := image.highest()) is not None:
                highest.append(value)
            if has_several(content):
                several.append(index)
        except UnreadableError as error:
            bad[index] = str(error)
        except MemoryError:
            bad[index] = "takes more memory than there is"

    for_each_with_progress("checking images", look, numbers, options)
    stored = Counter(filter(None, modes))
    return Findings(dict(sorted(bad.items())), stored, contents, max(highest), len(several) - 1)


def remembered_scan(files: Encoded, options: ImageOptions) -> Findings:
    """`scan`, or its cached findings for the same files."""
    folder = cache_folder(options)
    memory = folder / f"checked-{cache_key(files, None, options.reading)}.json"
    known = read_findings(memory)
    if known is None:
        known = scan(files, options)
        # If nothing can be written, the next run scans again.
        with contextlib.suppress(OSError):
            write_findings(memory, known)
    return known


def cache_key(files: Encoded, form: ImageFormat | None, reading: ImageReading | None = None) -> str:
    """A key of the files' names and states, all settings, and decoders: never stale."""
    decoders = f"{pillow_version} {simplejpeg.__version__}"
    parts = [str(_VERSION), decoders, files.identity(), repr(form), repr(reading)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def read_findings(path: Path) -> Findings | None:
    """What `write_findings` wrote; None if the file is missing or damaged."""
    try:
        held = read_json(path)
        contents = np.frombuffer(bytes.fromhex(held["contents"]), "<i8").astype(np.int64)
        return Findings(
            {int(k): str(v) for k, v in held["bad"].items()},
            Counter(held["modes"]),
            torch.from_numpy(contents),
            int(held["highest"]),
            int(held["several"]),
        )
    except (UserError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_findings(path: Path, findings: Findings) -> None:
    """Written atomically, also if another process writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    held = {
        "bad": findings.bad,
        "modes": findings.modes,
        "highest": findings.highest,
        "several": findings.several,
        "contents": findings.contents.numpy().astype("<i8").tobytes().hex(),
    }
    partial.write_text(to_json(held), "utf-8")
    partial.replace(path)


def partial_path(path: Path) -> Path:
    """A temporary name in the folder of `path` that no other process uses."""
    return path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")


def cache_folder(options: ImageOptions) -> Path:
    """`options.cache_dir`, or the platform's cache folder."""
    return paths.cache_folder() if options.cache_dir is None else paths.expanded(options.cache_dir)
