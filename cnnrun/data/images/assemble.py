"""From image files and labels to splits: one size and mode for all, bad files found, caches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cnnrun.data.dataset import Images, Split
from cnnrun.data.images.cache import in_memory, on_disk
from cnnrun.data.images.check import SAMPLE, ChosenCheck, check, chosen_check, sample
from cnnrun.data.images.decoding import BadImageError, ImageFormat, ImageOptions
from cnnrun.data.images.files import Encoded, ImageFiles, for_each_with_progress
from cnnrun.data.images.formats import read_header
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.scan import Findings, cache_folder
from cnnrun.data.target_kind import Targets
from cnnrun.errors import UserError
from cnnrun.runtime.printable import printable

_AS_THEY_ARE = ("L", "RGB")


def image_splits(
    parts: Mapping[str, tuple[Encoded, Targets | Tensor]], options: ImageOptions
) -> dict[str, Split]:
    """Splits by name, of image files and their labels (N,) int64; `options.check` decides which
    files are decoded to find bad ones.

    Bad files are an error or are left out, by `options.on_error`; `options.bad_files` lists them in
    either case, and `options.notes` has further notes for the user.

    Raises:
        BadImageError: there are bad files, and `on_error` is "stop".
        UserError: the sizes differ and none is set, or a split has no good file.
    """
    which = chosen_check(sum(len(files) for files, _ in parts.values()), options)
    form = resolve_form([files for files, _ in parts.values()], options)
    opened = {name: _open(files, form, which, options) for name, (files, _) in parts.items()}
    _report([found for _, found in opened.values()], form, options)
    for (files, _), (_, found) in zip(parts.values(), opened.values(), strict=True):
        options.bad_files.extend(found.bad_files(files))
    refuse_bad(options)
    return {
        name: without_bad(name, _split(files, *opened[name], labels), opened[name][1].bad)
        for name, (files, labels) in parts.items()
    }


def refuse_bad(options: ImageOptions) -> None:
    """Raises `BadImageError` if there are bad files that are not to be skipped."""
    if options.bad_files and options.on_error == "stop":
        raise BadImageError(
            options.bad_files,
            "Fix or remove these files, or skip them with dataset.on_error: skip",
        )


def resolve_form(parts: list[Encoded], options: ImageOptions) -> ImageFormat:
    """The size and channels that all images are converted to.

    Raises:
        UserError: no size is set, and the files differ in theirs.
    """
    size, channels = options.size, options.channels
    if size is None or channels is None:
        sizes, gray, unread = _headers(parts, options, every=size is None)
        size = size or _only_size(sizes, unread)
        channels = channels or (1 if gray else 3)
    return ImageFormat(size, channels, options.resize, options.reading, options.crop_fraction)


def _headers(
    parts: list[Encoded], options: ImageOptions, every: bool
) -> tuple[dict[tuple[int, int], str], bool, dict[str, str]]:
    """(a file of each size, whether all are gray), of all or some; bad files are reported later."""
    step = 1 if every else sample(sum(map(len, parts)), SAMPLE).step
    sizes: dict[tuple[int, int], str] = {}
    unread: dict[str, str] = {}
    grays: set[bool] = set()

    def look(files: Encoded, index: int) -> None:
        try:
            size, gray = read_header(files.read(index), options.reading.page)
        except UnreadableError as error:
            unread.setdefault(files.name(index), str(error))
            return
        sizes.setdefault(size, files.name(index))
        grays.add(gray)

    for files in parts:
        numbers = range(0, len(files), step)
        for_each_with_progress("looking at sizes", partial(look, files), numbers, options)
    return sizes, grays == {True}, unread


def _only_size(sizes: dict[tuple[int, int], str], unread: dict[str, str]) -> tuple[int, int]:
    if not sizes:
        first = "".join(f": {printable(name)}: {why}" for name, why in [*unread.items()][:1])
        raise UserError(f"no file is an image that can be read{first}")
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    if len(by_area) > 1:
        least, most = (
            f"{sizes[size]} is {size[0]} x {size[1]}" for size in (by_area[0], by_area[-1])
        )
        raise UserError(
            f"the images have {len(by_area):,} sizes: {least}, {most} (height x width); "
            "set dataset.size to resize them all, e.g. dataset.size: [224, 224]"
        )
    return by_area[0]


def _open(
    files: Encoded, form: ImageFormat, which: ChosenCheck, options: ImageOptions
) -> tuple[Images, Findings]:
    if options.cache == "ram":
        return in_memory(files, form, options)
    if options.cache == "disk":
        return on_disk(files, form, options)
    memory = cache_folder(options) if which == "all" else None
    return ImageFiles(files, form, options.threads, memory), check(files, which, options)


def _report(findings: list[Findings], form: ImageFormat, options: ImageOptions) -> None:
    modes: Counter[str] = sum((found.modes for found in findings), Counter())
    unlike = {mode: count for mode, count in modes.most_common() if mode not in _AS_THEY_ARE}
    if form.channels == 1 and options.channels is None and modes["RGB"]:
        unlike["RGB"] = modes["RGB"]
    if unlike:
        kinds = ", ".join(f"{count:,} {mode}" for mode, count in unlike.items())
        options.notes.append(f"converted to {_kind(form)}: {kinds}")
    several = sum(found.several for found in findings)
    if several and options.reading.page is None:
        options.notes.append(
            f"{several:,} files hold several images (pages or frames); the first of each is used "
            "(dataset.page)"
        )
    if options.reading.high is None:
        check_range(max((found.highest for found in findings), default=-1), options)


# Of 65,535: below the first, 16-bit values become at most 16 of 255; below the second, at most 64.
_DARK, _DIM = 2**12, 2**14


def check_range(highest: int, options: ImageOptions) -> None:
    """Refuse 16-bit gray that is nearly black, as 12-bit values are; warn of dim images.

    Raises:
        UserError: with the number of bits that the values seem to have.
    """
    if not 0 < highest < _DIM:
        return
    bits = next(bits for bits in (8, 10, 12, 14) if highest < 2**bits)
    found = f"the 16-bit images have values up to {highest:,} of 65,535"
    if highest < _DARK:
        raise UserError(
            f"{found}, which would be nearly black; set dataset.bits to the bits they use: "
            f"{bits}, it seems (or 16, if they really are that dark)"
        )
    options.notes.append(f"{found}; if they use {bits} bits, set dataset.bits: {bits}")


def _kind(form: ImageFormat) -> str:
    return "8-bit gray" if form.channels == 1 else "8-bit RGB"


def _split(files: Encoded, images: Images, found: Findings, targets: Targets | Tensor) -> Split:
    split = Split(images, targets, contents=found.contents, names=files)
    ids = files.ids()
    return split if ids is None else replace(split, ids=ids)


def without_bad(name: str, split: Split, bad: Mapping[int, str]) -> Split:
    """The split called `name` without its bad samples, whose reasons `bad` has by index.

    Raises:
        UserError: none is left.
    """
    if not bad:
        return split
    kept = torch.ones(len(split), dtype=torch.bool)
    kept[list(bad)] = False
    if not kept.any():
        reason = next(iter(bad.values()))
        raise UserError(f"no file of the {name} split can be read; the first is {reason}")
    return split.take(kept.nonzero().squeeze(1))
