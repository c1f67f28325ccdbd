"""Which samples they are: ids, fingerprints, and what a checkpoint says of its data."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.identity import (
    difference,
    fingerprint,
    id_of_content,
    identified,
    ids_of_names,
    record,
    trained_on,
)
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.digits import digits
from cnnrun.data.sources.folder import folder
from cnnrun.data.targets import Labels
from cnnrun.runs.checkpoint import Checkpoint
from tests.small_run import small_run as small_run


@given(st.lists(st.text(max_size=20), max_size=30))
@settings(max_examples=50, deadline=None)
def test_a_name_has_one_id_wherever_it_stands(names: list[str]) -> None:
    ids = ids_of_names(names)
    assert ids.dtype == torch.int64
    assert (ids >= 2**62).all()
    assert torch.equal(ids_of_names(reversed(names)).flip(0), ids)
    assert len(set(ids.tolist())) <= len(set(names))


def test_names_and_contents_are_told_apart() -> None:
    assert len(set(ids_of_names(map(str, range(5000))).tolist())) == 5000
    assert torch.equal(ids_of_names(["e\u0301.png"]), ids_of_names(["\u00e9.png"]))
    assert id_of_content(b"a") == id_of_content(b"a") != id_of_content(b"b")


def noise(place: Path, names: list[str], seed: int) -> None:
    """Gray images of noise: all of one size, most of one number of bytes."""
    place.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(random.integers(0, 256, (6, 6), np.uint8)).save(place / f"{name}.bmp")


def opened(root: Path, **keys: float) -> Dataset:
    options = ImageOptions(threads=1, cache_dir=str(root.parent / "cache"))
    return identified(folder(options, root=str(root), **keys))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    noise(tmp_path / "D" / "a", [f"{k}" for k in range(12)], 1)
    noise(tmp_path / "D" / "b", [f"{k}" for k in range(12)], 2)
    return tmp_path / "D"


def test_ids_and_fingerprint_go_where_the_folder_goes(root: Path) -> None:
    before = opened(root)
    moved = root.rename(root.with_name("elsewhere"))
    for file in moved.rglob("*.bmp"):
        os.utime(file, (0, 0))
    after = opened(moved)
    assert torch.equal(after.train.ids, before.train.ids)
    assert after.fingerprint == before.fingerprint
    assert opened(moved, test=0.5).fingerprint == before.fingerprint
    assert len(set(before.train.ids.tolist()) & set(before.test.ids.tolist())) == 0


@pytest.mark.parametrize("change", ["added", "removed", "swapped", "rewritten", "other class"])
def test_a_fingerprint_tells_any_change(root: Path, change: str) -> None:
    before = opened(root)
    first, second = root / "a" / "0.bmp", root / "a" / "1.bmp"
    if change == "added":
        noise(root / "a", ["new"], 3)
    elif change == "removed":
        first.unlink()
    elif change == "swapped":
        held = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(held)
    elif change == "rewritten":  # another content of the same size, at the same time
        state = first.stat()
        first.write_bytes((root / "b" / "0.bmp").read_bytes())
        os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns))
    else:
        first.rename(root / "b" / "new.bmp")
    after = opened(root)
    assert after.fingerprint != before.fingerprint
    assert difference(after, record(before))


def test_a_difference_is_told_in_words(root: Path) -> None:
    before = record(opened(root))
    assert difference(opened(root), before) is None
    assert difference(opened(root), {}) is None
    noise(root / "a", ["0"], 9)
    told = difference(opened(root), before)
    assert told is not None
    assert "another content" in told or "other splits" in told
    for k in range(8):
        (root / "b" / f"{k}.bmp").rename(root / "b" / f"renamed {k}.bmp")
    assert "are new" in str(difference(opened(root), before))


def test_positions_of_different_splits_are_different_samples() -> None:
    split = Split(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 0]))
    dataset = identified(Dataset(("a", "b"), split, split, split))
    ids = torch.cat([dataset.split(name).ids for name in ("train", "validation", "test")])
    assert len(set(ids.tolist())) == 15
    assert identified(dataset).train.ids.tolist() == dataset.train.ids.tolist()
    assert torch.equal(identified(dataset).test.ids, dataset.test.ids)


def test_pixels_in_memory_count() -> None:
    data = identified(digits())
    assert data.fingerprint == identified(digits()).fingerprint
    images = data.test.images[torch.arange(len(data.test))].clone()
    images[7, 0, 3, 3] ^= 1
    assert fingerprint(replace(data, test=replace(data.test, images=images))) != data.fingerprint
    swapped = replace(data.train, targets=Labels(data.train.labels.flip(0)))
    assert fingerprint(replace(data, train=swapped)) != data.fingerprint


def test_what_was_trained_on_is_known_by_content_first(root: Path) -> None:
    held = record(opened(root))
    dataset = opened(root)
    assert trained_on(dataset.train, held) == len(dataset.train)
    assert trained_on(dataset.test, held) == 0
    assert trained_on(dataset.train, {}) is None
    # Another folder has images of the same names, but not the same images.
    other = root.with_name("other")
    noise(other / "a", [f"{k}" for k in range(12)], 7)
    noise(other / "b", [f"{k}" for k in range(12)], 8)
    assert trained_on(opened(other).train, held) == 0
    # The same images under other names are the same images.
    for file in sorted((root / "a").iterdir()):
        file.rename(root / "a" / f"x{file.name}")
    renamed = opened(root)
    both = sum(trained_on(split, held) or 0 for split in (renamed.train, renamed.test))
    assert both == len(dataset.train)


def test_a_checkpoint_keeps_what_it_was_trained_on(small_run: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(small_run / "checkpoints" / "last.pt")
    data = identified(digits())
    assert checkpoint.data["fingerprint"] == data.fingerprint
    trained = checkpoint.data["trained_on"]
    assert len(trained) == sum(checkpoint.class_counts)
    assert torch.isin(trained, data.train.ids).all()
    assert not torch.isin(trained, data.test.ids).any()
    old = torch.load(small_run / "checkpoints" / "last.pt", weights_only=True)
    del old["data"]
    torch.save(old, tmp_path / "old.pt")
    assert Checkpoint.load(tmp_path / "old.pt").data == {}
