"""Arrays of images and targets in one file of numpy."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnrun.data.dataset import SPLITS, Dataset, Split
from cnnrun.data.identity import id_of_content
from cnnrun.data.images.arrays import MOST_CHANNELS, quantized
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.sources.array_targets import kind_of, names_of, targets_of
from cnnrun.data.sources.labelled_files import Amount, divided_by_content
from cnnrun.data.sources.listed_names import listed
from cnnrun.data.sources.split_names import split_named
from cnnrun.data.target_kind import Kind, Targets
from cnnrun.data.targets import Masks
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.container import memory_left
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import SHARD_BYTES, UnusableFileError, open_regular

_IMAGES = ("x", "image", "images", "img", "imgs", "data", "input", "inputs")
_TARGETS = ("y", "label", "labels", "target", "targets", "mask", "masks", "value", "values")
_MOST_ARRAYS = 1_000

Pairs = dict[str, tuple[NDArray[Any], NDArray[Any]]]


@datasets.register("npz")
def npz(
    options: ImageOptions,
    *,
    file: str,
    targets: Kind | None = None,
    target: str | None = None,
    classes: list[str] | None = None,
    test: Amount = 0.2,
) -> Dataset:
    """Arrays in an `.npz` file: `train_images`, `train_labels`, `test_images` ..., or `x_train`.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) of 1 to 16 channels, uint8 in 0..255, float
    in 0..1, or of the values that `dataset.range` or `dataset.bits` says. Their names have a word
    for the split (none: train) and one for what they hold: `x`, `images` or `data`, and `y`,
    `labels`, `targets`, `masks` or `values`. Without a test split, the validation split is used
    for it; without either, each image's bytes decide.

    file: The file, as `numpy.savez` or `numpy.savez_compressed` writes it.
    targets: What the targets are; by default whole numbers (N,) are labels, (N, K) sets of labels
        (0 or 1), floating-point numbers values, and (N, H, W) masks.
    target: Which arrays are the targets if there are several: `masks` for `train_masks`.
    classes: Names of the classes, labels or values; by default numbers.
    test: Where there is neither `val` nor `test`, about this fraction of the images (or this many)
        is the test split.

    Raises:
        UserError: no such file, damaged, larger than memory, or arrays that are missing or don't
        fit.
    """
    parts = _read(expanded(file), file, target, options.whole)
    splits = {
        name: _split(*pair, targets, f"{file}: {name}", options.reading)
        for name, pair in parts.items()
    }
    kinds = {split.targets.kind for split in splits.values()}
    if len(kinds) > 1:
        raise UserError(f"{file}: targets of several kinds ({', '.join(sorted(kinds))})")
    names = names_of([split.targets for split in splits.values()], classes, file)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
        options.notes.append(f"{file} has no test split: its validation images are the test split")
    elif "test" not in splits:
        splits |= divided_by_content(file, splits["train"], test, options.whole)
    train = splits.get("train") or splits["test"].take(torch.arange(0))
    return Dataset(names, train, splits["test"], splits.get("validation"))


def _read(path: Path, file: str, target: str | None, whole: bool) -> Pairs:
    """Images and targets by split; what else the file holds stays unread.

    whole: nothing is trained on, so that there need be no training images.
    """
    try:
        with open_regular(path, SHARD_BYTES) as held, zipfile.ZipFile(held) as archive:
            infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(infos) > _MOST_ARRAYS:
                raise UserError(f"{file}: {len(infos):,} arrays; the most is {_MOST_ARRAYS:,}")
            names = _by_split(infos, target, file, whole)
            chosen = [infos[name] for pair in names.values() for name in pair]
            _refuse_large(sum(info.file_size for info in chosen), file)
            return {
                split: (_array(archive, infos[images]), _array(archive, infos[targets]))
                for split, (images, targets) in names.items()
            }
    except UserError:
        raise
    except UnusableFileError as error:
        raise UserError(f"dataset.file: {file}: {error}") from error
    except OSError as error:
        raise UserError(f"dataset.file: {file}: {error.strerror or error}") from error
    # What unpacks the file and what reads the arrays meet damage with exceptions of any kind.
    except Exception as error:
        message = f"no file of numpy's arrays, or damaged ({error!s:.200})"
        raise UserError(f"{file}: {message}") from error


def _refuse_large(size: int, file: str) -> None:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if os.name == "posix" else None
    room = min((n for n in (memory_left(), pages) if n is not None), default=None)
    if room is not None and size > room:
        needs = (
            f"its arrays hold {size / 1e9:,.1f} GB, more than the {room / 1e9:,.1f} GB of memory"
        )
        raise UserError(f"{file}: {needs}")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, whose header must agree with its size in the archive.

    Raises:
        ValueError: it does not, or it holds objects, text or records.
    """
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        try:
            shape, _, kind = read(member)
        except MemoryError:  # numpy lets Python's parser read it, whatever its nesting
            raise ValueError(f"{info.filename} has a header that nothing can read") from None
        if kind.kind not in "buif":
            raise ValueError(f"{info.filename} holds {kind}, not numbers")
        if prod(shape) * kind.itemsize != info.file_size - member.tell():
            raise ValueError(f"{info.filename} claims to be {shape}, but is not")
    with archive.open(info) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _by_split(
    arrays: Iterable[str], target: str | None, file: str, whole: bool
) -> dict[str, tuple[str, str]]:
    """The names of images and targets by split.

    Raises:
        UserError: there are none, or several that could be.
    """
    found: dict[tuple[str, bool], str] = {}
    for name in arrays:
        words = re.findall(r"[a-z]+", name.lower())
        split = next((s for word in words if (s := split_named(word))), "train")
        answers = any(w == target.lower() if target else w in _TARGETS for w in words)
        if split not in SPLITS or not (answers or any(word in _IMAGES for word in words)):
            continue
        if other := found.get((split, answers)):
            remedy = "set dataset.target to the targets" if answers else "leave one out"
            raise UserError(f"{file}: {other} and {name} both match; {remedy}")
        found[split, answers] = name
    there = f"it has {listed(arrays) or 'none'}"
    if ("train", False) not in found and not (whole and found):
        raise UserError(f"{file} has no array of training images, such as train_images ({there})")
    pairs = {}
    for split in SPLITS:
        pair = [found.get((split, answers)) for answers in (False, True)]
        if pair[0] and pair[1]:
            pairs[split] = pair[0], pair[1]
        elif pair[0] or pair[1]:
            alone = "targets" if pair[0] else "images"
            raise UserError(f"{file}: no {alone} for {pair[0] or pair[1]} ({there})")
    return pairs


def _split(
    images: NDArray[Any],
    rows: NDArray[Any],
    kind: Kind | None,
    where: str,
    reading: ImageReading,
) -> Split:
    try:
        for array, what in ((images, "images"), (rows, "targets")):
            if not array.ndim or not array.size:
                raise UserError(f"{what} of shape {array.shape} hold nothing")
        pixels, targets = _pixels(images, reading), targets_of(rows, kind or kind_of(rows))
        _agree(pixels, targets)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    contents = torch.tensor([id_of_content(row.tobytes()) for row in pixels.numpy()])
    return replace(Split(pixels, targets), ids=contents, keys=contents, contents=contents)


def _agree(pixels: Tensor, targets: Targets) -> None:
    if len(pixels) != len(targets) or not len(pixels):
        raise UserError(f"{len(pixels):,} images and {len(targets):,} targets")
    if isinstance(targets, Masks) and targets.held.shape[1:] != pixels.shape[2:]:
        sizes = (tuple(held.shape[-2:]) for held in (targets.held, pixels))
        both = " and ".join(f"{height} x {width}" for height, width in sizes)
        raise UserError(f"masks and images are of different sizes ({both})")


def _pixels(images: NDArray[Any], reading: ImageReading) -> Tensor:
    """(N, C, H, W) uint8, C 1 to 16.

    Raises:
        UserError: it is unclear which dimension is that of the channels, or other values.
    """
    tensor = torch.from_numpy(images.astype(images.dtype.newbyteorder("="), copy=False))
    if tensor.dim() == 3:
        tensor = tensor[:, None]
    if tensor.dim() != 4:
        raise _other_shape(images)
    first, last = (tensor.shape[k] for k in (1, 3))
    if last in (1, 3) or (first not in (1, 3) and last <= MOST_CHANNELS < first):
        tensor = tensor.movedim(3, 1)
    elif first not in (1, 3) and not first <= MOST_CHANNELS < last:
        raise _other_shape(images)
    return quantized(tensor, reading).contiguous()


def _other_shape(images: NDArray[Any]) -> UserError:
    return UserError(
        f"images of shape {images.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W), with "
        f"1 to {MOST_CHANNELS} channels and more pixels than that on a side, unless there are 1 "
        "or 3"
    )
