"""Tar files in WebDataset's layout, local or on the web, with random access by an index of each."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import BadFile, Dataset, ImageSubset, Split
from cnnrun.data.identity import ids_of_names
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.shard_names import Patterns, expand, is_url
from cnnrun.data.sources.shard_spool import ShardSpool
from cnnrun.data.sources.tar_index import TarIndex, load_index
from cnnrun.errors import UserError
from cnnrun.registry import datasets
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import (
    MOST_CLASSES,
    SHARD_BYTES,
    UnusableFileError,
    open_regular,
)

Numbers = NDArray[np.int64]
Texts = NDArray[np.str_]

# Shards that are indexed (and fetched) at the same time.
_AT_ONCE = 8


@datasets.register("webdataset")
def webdataset(
    options: ImageOptions,
    *,
    train: Patterns,
    test: Patterns,
    val: Patterns | None = None,
    label: str = "cls",
    classes: list[str] | None = None,
    spool: str = "data/shards",
    spool_gb: Annotated[float, Field(gt=0)] = 50.0,
) -> Dataset:
    """Tar shards in WebDataset's layout, local or on the web, for data larger than the disk.

    A shard is read once, to index its samples; then any sample can be read alone, so that shuffling
    and resuming are exact. Nothing is unpacked by name.

    train: Shards to train on: paths, globs or http(s) addresses, optionally with braces, as in
        `https://host/train-{0000..0146}.tar`.
    test: Shards to test on.
    val: Shards of the validation split, where there is one.
    label: Extension of the files with a sample's label: a number from 0 on, or the class's name.
    classes: Names of the numbers, or the order of the names.
    spool: Folder of the indexes, and of shards from the web while they are used.
    spool_gb: Gigabytes (10^9 bytes) of shards from the web kept there; the least recently used go
        first.

    Raises:
        UserError: a pattern matches nothing, a shard can't be fetched or read, an image has no
            label and none is to be skipped, or labels don't fit.
    """
    store = ShardSpool(expanded(spool), int(spool_gb * 1e9))
    parts = {"train": train, "test": test}
    if val is not None:
        parts["validation"] = val
    samples = {
        name: _labelled(_index(name, patterns, label, store), label, options)
        for name, patterns in parts.items()
    }
    names, numbers = _numbers({name: part.labels for name, part in samples.items()}, classes)
    splits = image_splits(
        {name: (part, _labels(part.labels, numbers)) for name, part in samples.items()}, options
    )
    # Shards may be added: each sample's own name decides whether it is held out.
    splits["train"] = replace(splits["train"], keys=splits["train"].ids)
    splits["train"] = _by_shard(splits["train"], samples["train"], int(spool_gb * 1e9))
    return Dataset(names, splits["train"], splits["test"], splits.get("validation"))


@dataclass(frozen=True)
class Shards:
    """The samples of a split.

    addresses, totals: of the shards, and their bytes.
    shard: (N,) which of them a sample lies in.
    keys, offsets, sizes, labels: (N,) as in `TarIndex`.
    """

    addresses: list[str]
    totals: list[int]
    shard: Numbers
    keys: Texts
    offsets: Numbers
    sizes: Numbers
    labels: Texts
    store: ShardSpool

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def local(self) -> bool:
        """Whether all shards are local, so that none is fetched or evicted during reading."""
        return not any(map(is_url, self.addresses))

    def read(self, index: int) -> bytes:
        """The content of image `index`, undecoded."""
        which = self.shard[index]
        address = self.addresses[which]
        open_shard = self.store.open if is_url(address) else _open_file
        with open_shard(address) as shard:
            if os.fstat(shard.fileno()).st_size != self.totals[which]:
                raise UserError(f"{address} has changed since it was indexed; start again")
            shard.seek(int(self.offsets[index]))
            return shard.read(int(self.sizes[index]))

    def name(self, index: int) -> str:
        """The name of image `index` in messages: the shard's address and the key in it."""
        return f"{self.addresses[self.shard[index]]}/{self.keys[index]}"

    def identity(self) -> str:
        """A key for caches, from the shards' addresses, sizes and times."""
        digest = hashlib.sha256()
        for address, total in zip(self.addresses, self.totals, strict=True):
            changed = 0 if is_url(address) else Path(address).stat().st_mtime_ns
            digest.update(f"{address}\0{total}\0{changed}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def ids(self) -> Tensor:
        """(N,) int64, from the shards' names and the keys in them."""
        names = [_name_of(address) for address in self.addresses]
        if len(set(names)) < len(names):
            names = self.addresses
        return ids_of_names(f"{names[s]}/{k}" for s, k in zip(self.shard, self.keys, strict=True))


def _name_of(address: str) -> str:
    """A shard's folder and file, e.g. `train/0001.tar`, independent of the data's location."""
    return "/".join(address.replace(os.sep, "/").split("/")[-2:])


def _open_file(address: str) -> BinaryIO:
    try:
        return open_regular(address, SHARD_BYTES)
    except UnusableFileError as error:
        raise UserError(f"{address}: {error}") from error


def _by_shard(split: Split, shards: Shards, most_bytes: int) -> Split:
    """Shuffled shard by shard if remote shards do not all fit into the spool."""
    if not any(map(is_url, shards.addresses)) or sum(shards.totals) <= most_bytes:
        return split
    kept = split.images.indices.numpy() if isinstance(split.images, ImageSubset) else slice(None)
    return replace(
        split,
        groups=torch.as_tensor(shards.shard[kept], dtype=torch.int64),
        # One place is reserved for the shard being fetched.
        groups_at_once=max(1, most_bytes // max(shards.totals) - 1),
    )


def shortened(number: int) -> str:
    return str(number) if number < 10**20 else f"a number of {len(str(number)):,} digits"


def _index(name: str, patterns: Patterns, label: str, store: ShardSpool) -> Shards:
    addresses = expand(patterns)
    if not addresses:
        raise UserError(f"{name}: no shards are named")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        indexes = list(pool.map(lambda address: _index_one(address, label, store), addresses))
    return Shards(
        addresses,
        [index.total for index in indexes],
        np.repeat(np.arange(len(indexes)), [len(index.keys) for index in indexes]),
        np.concatenate([index.keys for index in indexes]),
        np.concatenate([index.offsets for index in indexes]),
        np.concatenate([index.sizes for index in indexes]),
        np.concatenate([index.labels for index in indexes]),
        store,
    )


def _labelled(shards: Shards, label: str, options: ImageOptions) -> Shards:
    """`shards` without the images that have no label, which are bad files.

    Raises:
        UserError: the first of them, unless they are to be skipped.
    """
    known = shards.labels != ""
    for index in np.flatnonzero(~known).tolist():
        reason = f"'{shards.keys[index]}' has an image but no label '{shards.keys[index]}.{label}'"
        if options.on_error == "stop":
            raise UserError(f"{shards.addresses[shards.shard[index]]}: {reason}")
        options.bad_files.append(BadFile(shards.name(index), reason))
    if not known.any():
        raise UserError(f"{shards.addresses[0]}: no image has a label '.{label}'")
    return replace(
        shards,
        shard=shards.shard[known],
        keys=shards.keys[known],
        offsets=shards.offsets[known],
        sizes=shards.sizes[known],
        labels=shards.labels[known],
    )


def _index_one(address: str, label: str, store: ShardSpool) -> TarIndex:
    if is_url(address):
        return load_index(lambda: store.open(address), address, address, label, store.folder)
    file = Path(address).resolve()
    state = file.stat()
    identity = f"{file} {state.st_size} {state.st_mtime_ns}"
    return load_index(lambda: _open_file(str(file)), str(file), identity, label, store.folder)


def _numbers(
    labels: dict[str, Texts], classes: list[str] | None
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of the classes, and the index of each label's text."""
    found = {name: set(np.unique(part).tolist()) for name, part in labels.items()}
    everything = set().union(*found.values())
    if all(text.isdecimal() for text in everything):
        largest = max(map(int, everything))
        if classes is None and largest >= MOST_CLASSES:
            raise UserError(
                f"labels go up to {shortened(largest)}, so there would be as many classes; "
                "are these labels? (`label` says which files of a shard have them)"
            )
        names = classes or [str(k) for k in range(largest + 1)]
        if largest >= len(names):
            message = f"labels go up to {shortened(largest)}"
            raise UserError(f"{message}; `classes` has {len(names)} names")
        return tuple(names), {text: int(text) for text in everything}
    names = classes or sorted(found["train"])
    for part, texts in found.items():
        if unknown := sorted(texts - set(names)):
            raise UserError(
                f"the {part} split has classes that {'`classes`' if classes else 'training'} "
                f"has not: {', '.join(unknown[:8])}"
            )
    return tuple(names), {name: k for k, name in enumerate(names)}


def _labels(texts: Texts, numbers: dict[str, int]) -> Tensor:
    """(N,) int64; each distinct text is looked up once."""
    distinct, which = np.unique(texts, return_inverse=True)
    return torch.tensor([numbers[text] for text in distinct.tolist()])[torch.from_numpy(which)]
