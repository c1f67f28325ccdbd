"""Files from one source, such as the frames of a video, recognized by folder or name.

Divided between splits, such files leak training data into the test.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from cnnrun.data.images.decoding import ImageOptions

By = Literal["folder", "name"]

_DIGITS, _MARKS = "0123456789", " _-.,#()[]"
_BEHIND = re.compile(r"[^0-9]*$")
# Fraction of the files that must belong to series for a note.
_MOST = 0.8


def sources(paths: Sequence[str], base: str, by: By) -> list[str]:
    """A name for the source of each file, below its class folder in `base`; "" if it has none. by:

    `folder`: the file's folder. `name`: also its name up to the last number.
    """
    found, start = [], len(base.rstrip(os.sep)) + 1
    for path in paths:
        folder, _, file = path[start:].rpartition(os.sep)
        place = folder.partition(os.sep)[2].replace(os.sep, "/")
        if by == "name":
            place = _series(place, file)
        found.append(place)
    return found


def _series(place: str, file: str) -> str:
    """The name up to its last number; "" if there is none, or nothing else."""
    stem = file.rpartition(".")[0] or file
    if stem[-1] not in _DIGITS:  # v1_0001_left
        stem = stem[: _BEHIND.search(stem).start()]  # type: ignore[union-attr]
    if not stem:
        return ""
    name = stem.rstrip(_DIGITS).rstrip(_MARKS)
    return f"{place}/{name}" if place else name


def warn_of_series(
    paths: Sequence[str], classes: Sequence[str], base: str, options: ImageOptions
) -> None:
    """Note files that look as if several came from one source, though each is split alone.

    classes: of each file. Where most files of a class are one series, it is the class's own name.
    """
    kinds: tuple[tuple[By, str, int], ...] = (
        ("folder", "are in {} folders below the classes, such as {}", 2),
        ("name", "are numbered within {} names, such as {}", 2 * len(set(classes))),
    )
    for by, words, least in kinds:
        sizes = Counter(filter(None, sources(paths, base, by)))
        series = {name: size for name, size in sizes.items() if size > 1}
        count = sum(series.values())
        if len(series) >= least and count >= _MOST * len(paths):
            looks = words.format(f"{len(series):,}", min(series))
            options.notes.append(
                f"{base}: {count:,} images {looks}; if each is one video, one patient or the like, "
                f"set dataset.group: {by}; otherwise test images are near copies of training images"
            )
            return
