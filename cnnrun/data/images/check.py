"""Which image files are decoded, before any is used, to find those that can't be.

In any case, a file that can't be decoded when it is used is an error with its name: a sample is
never replaced, and no batch gets smaller.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from cnnrun.data.identity import id_of_content
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.files import Encoded, for_each_with_progress
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.scan import Findings, remembered_scan, scan
from cnnrun.errors import UserError

ChosenCheck = Literal["all", "first_use", "none"]

MOST = 100_000
"""Up to this many files, `auto` decodes all: photographs take two minutes on two cores."""
SAMPLE = 1_000
"""This many files, evenly spaced, represent all."""


def chosen_check(count: int, options: ImageOptions) -> ChosenCheck:
    """The meaning of `options.check` for `count` files; notes what `auto` skips.

    Raises:
        UserError: bad files are to be skipped, but would not be found.
    """
    decoded_anyway = options.cache != "none"
    if options.check in ("first_use", "none"):
        if options.on_error == "skip":
            raise UserError(
                f"dataset.check: {options.check} can't leave out bad files (dataset.on_error: "
                "skip), as they are not known before training; set dataset.check: all"
            )
        return "all" if decoded_anyway else options.check
    if options.check == "all" or options.on_error == "skip" or decoded_anyway or count <= MOST:
        return "all"
    options.notes.append(
        f"{count:,} image files are decoded when training comes to them, {SAMPLE:,} before; a "
        "damaged one stops it with its name (dataset.check: all looks at every file first)"
    )
    return "first_use"


def sample(count: int, most: int) -> range:
    """At most `most` of the numbers 0..count-1, evenly spaced."""
    return range(0, count, -(-count // most) or 1)


def check(files: Encoded, which: ChosenCheck, options: ImageOptions) -> Findings:
    """Decode the files that `which` names; content hashes are known for all of them or for none."""
    if which == "all":
        return remembered_scan(files, options)
    numbers = sample(len(files), SAMPLE) if which == "first_use" else range(0)
    found = scan(files, options, numbers=numbers)
    return replace(found, contents=_contents(files, options))


def _contents(files: Encoded, options: ImageOptions) -> Tensor:
    """(N,) int64: 0 for files identified by names; a hash of the content for those of a table."""
    contents = torch.zeros(len(files), dtype=torch.int64)
    if files.ids() is not None:
        return contents

    def read(index: int) -> None:
        with contextlib.suppress(UnreadableError):  # reported when it is used
            contents[index] = id_of_content(files.read(index))

    for_each_with_progress("reading images", read, range(len(files)), options)
    return contents
