"""Stable ids of samples, whatever else a data set gains or loses.

A sample in a file is identified by its name (its path within the data set, or its key in a tar),
one in a fixed set by its position there. Names give ids from 2^62 on, positions smaller ones.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnrun.data.dataset import SPLITS, Dataset, Images, Split

Numbers = NDArray[np.uint64]

_NAMED = 1 << 62
# No split has so many samples.
_POSITIONS = 1 << 40
# Contents of more samples are not written into checkpoints, where they would take 16 MB.
_MOST_CONTENTS = 2**21


def ids_of_names(names: Iterable[str]) -> Tensor:
    """(N,) int64, 2^62 and more: equal for equal names, however a system composes accents."""
    digests = b"".join(hashlib.blake2b(_spelled(name), digest_size=8).digest() for name in names)
    numbers = np.frombuffer(digests, np.uint64) >> np.uint64(2)
    return torch.from_numpy((numbers | np.uint64(_NAMED)).astype(np.int64))


def _spelled(name: str) -> bytes:
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.encode("utf-8", "surrogateescape")


def id_of_content(content: bytes | memoryview) -> int:
    """Equal for equal bytes: 2^62 and more, as that of a name."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2 | _NAMED


def identified(dataset: Dataset) -> Dataset:
    """`dataset` with ids that differ between splits, and its fingerprint.

    Done once, with the splits as the source gives them: position 0 of training and position 0 of
    the test split are two samples.
    """

    def apart(number: int, split: Split) -> Split:
        ids = split.ids
        return replace(split, ids=torch.where(ids < _POSITIONS, ids + number * _POSITIONS, ids))

    train, validation, test = (apart(k, dataset.split(name)) for k, name in enumerate(SPLITS))
    dataset = replace(
        dataset, train=train, test=test, validation=validation if dataset.validation else None
    )
    return replace(dataset, fingerprint=fingerprint(dataset))


def fingerprint(dataset: Dataset, contents: bool = True) -> str:
    """Of all samples' names, labels and contents, however they are divided into splits.

    contents: without them, it is the fingerprint of the same files when unread.

    What a file holds is known from the time it was decoded to find out whether it can be; images
    in memory are hashed (0.1 s for CIFAR-10); of those that are made or read when they are asked
    for (HDF5 files, a user's lazy Dataset) only numbers and labels count.
    """
    digest = hashlib.sha256(repr(dataset.classes).encode("utf-8", "surrogateescape"))
    total = np.zeros(1, np.uint64)
    for name in SPLITS:
        split = dataset.split(name)
        total += _mixed_numbers(split, contents).sum(keepdims=True)
        if split.contents is None:
            digest.update(_bytes_of(split.images))
    digest.update(total.tobytes())
    return digest.hexdigest()[:32]


def _mixed_numbers(split: Split, contents: bool) -> Numbers:
    numbers: Numbers = mixed(split.ids) + np.uint64(1)
    held = split.contents
    if held is not None and not contents:
        held = torch.zeros_like(held)
    for more in (split.targets.numbers, held):
        if more is not None:
            numbers = mixed(numbers ^ more.numpy().astype(np.uint64))
    return numbers


def mixed(numbers: Tensor | Numbers) -> Numbers:
    """(N,) uint64 hash: each bit depends on every bit of the number (SplitMix64)."""
    held = numbers.numpy() if isinstance(numbers, Tensor) else numbers
    z = held.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_bits: Numbers = z ^ (z >> np.uint64(31))
    return mixed_bits


def _bytes_of(images: Images) -> bytes:
    if not isinstance(images, Tensor) or not len(images):
        return b""
    once = images[:1] if images.stride(0) == 0 else images  # one image, seen many times
    return hashlib.sha256(once.contiguous().numpy().data).digest()


def record(dataset: Dataset) -> dict[str, Any]:
    """What a checkpoint records about its training data: plain values and tensors.

    `fingerprint` of all data, and `names`, that of names and labels alone; `trained_on` (N,) int64,
    ids of the training samples; and, of files that were read before, `contents` (N,) int64, what
    they held.
    """
    contents = dataset.train.contents
    kept = contents is not None and len(contents) <= _MOST_CONTENTS and bool((contents > 0).all())
    return {
        "fingerprint": dataset.fingerprint,
        "names": fingerprint(dataset, contents=False),
        "trained_on": dataset.train.ids,
        **({"contents": contents} if kept else {}),
    }


def trained_on(split: Split, held: Mapping[str, Any]) -> int | None:
    """How many samples of `split` a checkpoint was trained on; None where it does not say.

    held: the checkpoint's `data`. What a file holds decides, where both know it: a name may have
    got another content, and a content another name.
    """
    ours, theirs = split.contents, held.get("contents")
    if ours is None or not isinstance(theirs, Tensor) or not (ours > 0).all():
        ours, theirs = split.ids, held.get("trained_on")
    if not isinstance(theirs, Tensor):
        return None
    return int(torch.isin(ours, theirs).sum())


def difference(dataset: Dataset, held: Mapping[str, Any]) -> str | None:
    """How the data differ from when a checkpoint was written; None if they don't.

    held: the checkpoint's `data`; one of an older version ({}) knows of no difference.
    """
    if not held.get("fingerprint") or held["fingerprint"] == dataset.fingerprint:
        return None
    names = fingerprint(dataset, contents=False)
    if names == held.get("names") and names in (dataset.fingerprint, held["fingerprint"]):
        return None  # not all files were read, then or now (`dataset.check`)
    before, now = held["trained_on"], dataset.train.ids
    gone, new = (int((~torch.isin(a, b)).sum()) for a, b in ((before, now), (now, before)))
    if gone or new:
        kept = len(now) - new
        return f"{new:,} training images are new, {gone:,} are gone, {kept:,} are the same by name"
    contents = held.get("contents")
    if contents is not None and dataset.train.contents is not None:
        order, other = now.argsort(stable=True), before.argsort(stable=True)
        changed = int((dataset.train.contents[order] != contents[other]).sum())
        if changed:
            return f"{changed:,} of {len(now):,} training images have another content or name"
        return "images of the other splits, or labels, have changed"
    return "images or labels have changed, though not their names"
