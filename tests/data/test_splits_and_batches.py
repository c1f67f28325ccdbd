"""Splits, batches and sources."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from cnnrun.data.batches import Batches, batch_borders
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.options import DatasetOptions
from cnnrun.data.sources.cifar import cifar10, cifar100
from cnnrun.data.sources.digits import digits
from cnnrun.data.sources.idx import mnist, read_idx
from cnnrun.data.splits import (
    apply_splits,
    chosen_by_key,
    divided,
    stratified_choice,
    with_fold,
    with_validation,
)
from cnnrun.errors import UserError


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.data())
@settings(max_examples=60, deadline=None)
def test_stratified_choice_keeps_each_share(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(labels)))
    tensor = torch.tensor(labels)
    chosen = stratified_choice(tensor, count, seed=1)
    assert len(chosen) == count
    assert len(set(chosen.tolist())) == count
    for k in set(labels):
        share = labels.count(k) * count / len(labels)
        assert abs(int((tensor[chosen] == k).sum()) - share) < 1
    assert torch.equal(chosen, stratified_choice(tensor, count, seed=1))


def _numbered(samples: int) -> Dataset:
    """A data set whose pixels say which sample they are."""
    images = torch.arange(samples, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    split = Split(images, torch.arange(samples) % 2)
    return Dataset(("a", "b"), split, split)


def test_validation_takes_from_training_without_overlap() -> None:
    dataset = with_validation(_numbered(50), 0.2, seed=3)
    assert dataset.validation is not None
    train, validation = dataset.train.images.flatten(), dataset.validation.images.flatten()
    assert len(validation) == 10
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(50))
    assert len(with_validation(_numbered(50), 7, seed=3).split("validation")) == 7
    assert len(with_validation(_numbered(50), 0, seed=3).split("validation")) == 0
    with pytest.raises(UserError, match="50 of 50 training images"):
        with_validation(_numbered(50), 50, seed=3)


KEYS = st.lists(
    st.tuples(st.integers(2**62, 2**63 - 1), st.integers(0, 3)),
    max_size=60,
    unique_by=lambda pair: pair[0],
)


def _keyed(pairs: list[tuple[int, int]]) -> Split:
    keys = torch.tensor([key for key, _ in pairs], dtype=torch.int64)
    labels = torch.tensor([label for _, label in pairs], dtype=torch.int64)
    images = torch.zeros(len(pairs), 1, 1, 1, dtype=torch.uint8)
    return Split(images, labels, ids=keys, keys=keys)


def _taken(split: Split, amount: float, seed: int) -> set[int]:
    assert split.keys is not None
    return set(split.ids[chosen_by_key(split.keys, split.labels, amount, seed)].tolist())


@pytest.mark.slow
@given(KEYS, KEYS, st.floats(0.05, 0.9), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_no_other_file_moves_one_to_another_split(
    old: list[tuple[int, int]], new: list[tuple[int, int]], amount: float, seed: int
) -> None:
    known = {key for key, _ in old}
    more = [pair for pair in new if pair[0] not in known]
    before, after = _keyed(old), _keyed([*old, *more])
    moved = (_taken(before, amount, seed) ^ _taken(after, amount, seed)) & known
    # But for the one that a class must keep, and the one that a small set must set aside.
    for label in range(4):
        own = [key for key, k in old if k == label]
        alone = _keyed([(key, 0) for key in own])
        if len(_taken(alone, amount, seed)) < len(own) - 1:
            assert len(moved & set(own)) <= (0 if len(_taken(before, amount, seed)) > 1 else 1)


@given(KEYS, st.floats(0.05, 0.9), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_every_class_keeps_a_sample_to_train_on(
    pairs: list[tuple[int, int]], amount: float, seed: int
) -> None:
    split = _keyed(pairs)
    train, taken = divided(split, chosen_by_key(split.ids, split.labels, amount, seed))
    assert sorted([*train.ids.tolist(), *taken.ids.tolist()]) == sorted(split.ids.tolist())
    assert set(train.labels.tolist()) == set(split.labels.tolist())
    if round(amount * len(split)) and len(set(split.labels.tolist())) < len(split):
        assert len(taken)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=60),
       st.floats(0.05, 0.9), st.integers(0, 99))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_samples_with_one_key_go_together_whatever_their_classes(
    pairs: list[tuple[int, int]], amount: float, seed: int
) -> None:
    """As the images of one patient, of whom some are healthy and some ill."""
    split = _keyed([(2**62 + 7919 * group, label) for group, label in pairs])
    train, taken = divided(split, chosen_by_key(split.ids, split.labels, amount, seed))
    assert not set(train.ids.tolist()) & set(taken.ids.tolist())
    assert set(train.labels.tolist()) == set(split.labels.tolist())


def test_a_share_of_keys_is_near_the_share_and_a_number_exact() -> None:
    split = _keyed([(2**62 + k, k % 7) for k in range(20_000)])
    assert abs(len(_taken(split, 0.2, 1)) - 4000) < 250
    assert len(_taken(split, 500, 1)) == 500
    assert len(_taken(split, 0.2, 1) & _taken(split, 0.2, 2)) < 1000


def test_folds_of_keys_are_disjoint_and_everything() -> None:
    split = _keyed([(2**62 + 3 * k, k % 2) for k in range(100)])
    dataset = Dataset(("a", "b"), split, split.take(torch.arange(0)))
    parts = [with_fold(dataset, k, 5, seed=4).split("validation").ids.tolist() for k in range(1, 6)]
    assert sorted(number for part in parts for number in part) == split.ids.tolist()
    more = _keyed([(2**62 + k, k % 2) for k in range(300)])
    grown = with_fold(replace(dataset, train=more), 2, 5, seed=4).split("validation")
    assert set(parts[1]) <= set(grown.ids.tolist())


def test_classes_without_a_training_image_are_told() -> None:
    split = Split(torch.zeros(4, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]))
    dataset = Dataset(("a", "b", "c"), split, split)
    [note] = apply_splits(dataset, DatasetOptions(name="own"), 0).notes
    assert "1 of 3 classes (c)" in note


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 3), st.integers(1, 70))
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_sample_once(
    samples: int, batch_size: int, start: int, gathered: int
) -> None:
    batches = Batches(_numbered(samples).train, batch_size, torch.device("cpu"))
    order = torch.randperm(samples)
    with patch("cnnrun.data.batches._GATHERED", gathered):
        seen = [(images.flatten(), labels) for images, labels in batches.iterate(order)]
        rest = [images.flatten().tolist() for images, _ in batches.iterate(order, start)]
    assert torch.cat([images for images, _ in seen]).tolist() == order.tolist()
    assert torch.cat([labels for _, labels in seen]).tolist() == (order % 2).tolist()
    assert [len(images) for images, _ in seen] == [batches.size_of(i) for i in range(len(batches))]
    assert rest == [images.tolist() for images, _ in seen[start:]]


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    assert batch_borders(17, 16) == [0, 17]
    assert batch_borders(33, 16) == [0, 16, 33]
    assert batch_borders(34, 16) == [0, 16, 32, 34]
    assert batch_borders(3, 1) == [0, 1, 2, 3]
    assert batch_borders(1, 16) == [0, 1]


def test_digits_are_scikit_learns() -> None:
    ours, theirs = digits(), load_digits()
    assert (len(ours.train), len(ours.test)) == (1437, 360)
    both = torch.cat([ours.train.images, ours.test.images]).reshape(-1, 64).numpy()
    expected = np.rint(theirs.data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, both)) == sorted(map(bytes, expected))
    assert torch.bincount(ours.test.labels).tolist() == [36] * 10 or (
        torch.bincount(ours.test.labels).min() >= 34
    )


def idx_bytes(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _write_mnist(folder: Path, compress: bool) -> np.ndarray[Any, np.dtype[np.uint8]]:
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    labels = (np.arange(64) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            file = folder / f"{part}-{kind}-ubyte"
            if compress:
                file.with_name(file.name + ".gz").write_bytes(gzip.compress(idx_bytes(array)))
            else:
                file.write_bytes(idx_bytes(array))
    return images


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_gzipped_or_not(tmp_path: Path, compress: bool) -> None:
    images = _write_mnist(tmp_path / "MNIST" / "raw", compress)
    dataset = mnist(root=str(tmp_path), download=False)
    assert np.array_equal(dataset.train.images.squeeze(1).numpy(), images)
    assert dataset.test.labels.tolist() == [i % 10 for i in range(64)]


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", ".", "raw"])
@pytest.mark.parametrize("name", ["{}-{}-ubyte", "{}-{}-ubyte.gz", "{}.{}-ubyte", "kaggle"])
def test_idx_files_where_archives_put_them(tmp_path: Path, place: str, name: str) -> None:
    _write_mnist(tmp_path / "made", name.endswith(".gz"))
    target = tmp_path / "D" / place
    target.mkdir(parents=True)
    for file in (tmp_path / "made").iterdir():
        dotted = file.name.replace("-idx", ".idx")
        if name == "kaggle":
            (target / dotted).mkdir()
            file.rename(target / dotted / dotted)
        else:
            file.rename(target / (dotted if name == "{}.{}-ubyte" else file.name))
    assert len(mnist(root=str(tmp_path / "D"), download=False).train) == 64
    (tmp_path / "D" / "FashionMNIST").mkdir()
    if place in (".", "raw"):  # whose files are these?
        with pytest.raises(UserError, match="MNIST"):
            mnist(root=str(tmp_path / "D"), download=False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-5],
        lambda b: b + b"x",
        lambda b: b[:0],
        lambda b: b[:6],
        lambda b: b"<html>" + b,
        lambda b: b[:4] + b"\xff\xff\xff\xff" + b[8:],
        lambda b: gzip.compress(b)[:-20],
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    content = damage(idx_bytes(np.zeros((3, 4, 4), np.uint8)))
    file = tmp_path / ("x.gz" if content[:2] == b"\x1f\x8b" else "x")
    file.write_bytes(content)
    with pytest.raises(UserError, match=str(file)):
        read_idx(file, 3)


@pytest.mark.mnist
def test_real_mnist_files(mnist_root: Path) -> None:
    dataset = mnist(root=str(mnist_root), download=False)
    assert dataset.train.images.shape == (8000, 1, 28, 28)
    assert len(dataset.test) == 2000
    # Ink on paper: mostly black, some full white; and every digit is there.
    assert 0.1 < dataset.train.images.float().mean() / 255 < 0.16
    assert dataset.class_counts.min() > 600


def write_cifar10(folder: Path, per_file: int = 20) -> None:
    """Files in the format of CIFAR-10's python version; each class has a colour of its own."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        labels = random.permutation(np.arange(per_file) % 10)
        data = random.integers(0, 60, (per_file, 3, 1024)) + labels[:, None, None] * 15
        content = {
            b"data": data.reshape(per_file, 3072).astype(np.uint8),
            b"labels": labels.tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse"]
    meta = {b"label_names": [*names, b"ship", b"truck"]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))


def test_a_truncated_idx_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_bytes(idx_bytes(np.arange(4, dtype=np.uint8))[:-1])
    with pytest.raises(UserError, match=r"announces 4 bytes but holds fewer; delete it to fetch"):
        read_idx(file, 1)


def test_there_is_no_fold_beyond_the_last() -> None:
    with pytest.raises(UserError, match=r"fold 3/2: the folds are 1/2 to 2/2"):
        with_fold(digits(), 3, 2, seed=0)


def test_cifar10_files(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py")
    dataset = cifar10(root=str(tmp_path), download=False)
    assert dataset.train.images.shape == (100, 3, 32, 32)
    assert dataset.classes[3] == "cat"
    brightness = dataset.train.images.float().mean((1, 2, 3))
    assert torch.corrcoef(torch.stack([brightness, dataset.train.labels.float()]))[0, 1] > 0.99


def test_cifar100_files(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    data = {"data": np.zeros((5, 3072), np.uint8), "fine_labels": [0, 1, 2, 1, 0]}
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps(data))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["a", "b", "c"]}))
    assert cifar100(root=str(tmp_path)).train.labels.tolist() == [0, 1, 2, 1, 0]


class _Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_cifar_file_runs_no_code(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar10(folder)
    (folder / "data_batch_3").write_bytes(pickle.dumps(_Evil(tmp_path / "pwned")))
    with pytest.raises(UserError, match="asks to run"):
        cifar10(root=str(tmp_path), download=False)
    assert not (tmp_path / "pwned").exists()
