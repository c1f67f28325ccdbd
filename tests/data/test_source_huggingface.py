"""Hugging Face data sets, written here by the `datasets` package; nothing is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets as hub
import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.huggingface import huggingface
from cnnrun.data.splits import with_validation
from cnnrun.errors import UserError

_NAMES = ["zebra", "ant", "猫"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)


def _image(value: int) -> Image.Image:
    return Image.new("RGB", (5, 4), (value, 7, 255 - value))


def _table(first: int, count: int, **columns: Any) -> hub.Dataset:
    """Sample i is an image of red value i, of class i modulo 3."""
    numbers = range(first, first + count)
    content = {"image": [_image(i) for i in numbers], "label": [i % 3 for i in numbers]}
    features = {"image": hub.Image(), "label": hub.ClassLabel(names=_NAMES)}
    content |= columns
    features |= {name: hub.Value("string") for name in columns}
    return hub.Dataset.from_dict(content, features=hub.Features(features))


def _load(path: Path, **keys: Any) -> Dataset:
    images = ImageOptions(size=(4, 5), channels=3, cache_dir=str(path.parent / "known"))
    return huggingface(images, path=str(path), **keys)


def _check(dataset: Dataset, train: list[int], test: list[int]) -> None:
    for split, expected in ((dataset.train, train), (dataset.test, test)):
        order = np.random.default_rng(0).permutation(len(expected)).tolist()
        images = split.images[torch.tensor(order)]
        assert images.shape == (len(expected), 3, 4, 5)
        assert images[:, 0, 2, 2].tolist() == [expected[i] for i in order]
        names = [dataset.classes[k] for k in split.labels.tolist()]
        assert names == [_NAMES[i % 3] for i in expected]


def test_saved_to_disk(tmp_path: Path) -> None:
    parts = {"train": _table(0, 9), "test": _table(9, 4), "dev": _table(13, 3)}
    hub.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    dataset = _load(tmp_path / "saved", validation_split="dev")
    _check(dataset, list(range(9)), list(range(9, 13)))
    assert dataset.classes == tuple(_NAMES)
    assert len(dataset.split("validation")) == 3
    with pytest.raises(UserError, match="no split 'tesst'; did you mean 'test'"):
        _load(tmp_path / "saved", test_split="tesst")


def _reds(dataset: Dataset, split: str) -> set[int]:
    part = dataset.split(split)
    return set(part.images[torch.arange(len(part))][:, 0, 0, 0].tolist())


def test_one_table_alone_is_divided_by_its_images(tmp_path: Path) -> None:
    """Rows that are added move no other from training to testing."""
    _table(0, 60).save_to_disk(tmp_path / "saved")
    dataset = _load(tmp_path / "saved")
    train, test = (_reds(dataset, name) for name in ("train", "test"))
    assert (train | test, train & test) == (set(range(60)), set())
    assert 4 < len(test) < 24
    _table(0, 90).shuffle(seed=1).save_to_disk(tmp_path / "more")
    more = _load(tmp_path / "more")
    assert _reds(more, "test") & set(range(60)) == test
    with_validation(more, 0.2, seed=0)
    with pytest.raises(UserError, match="test: 60 of 60 images leaves none to train on"):
        _load(tmp_path / "saved", test=60)


def test_one_table_alone_in_slices_of_ones_own_or_scored_whole(tmp_path: Path) -> None:
    _table(0, 20).save_to_disk(tmp_path / "saved")
    sliced = _load(tmp_path / "saved", train_split="train[:75%]", test_split="train[75%:]")
    _check(sliced, list(range(15)), list(range(15, 20)))
    options = ImageOptions(size=(4, 5), channels=3, cache="ram", whole=True)
    whole = huggingface(options, path=str(tmp_path / "saved"))
    assert (len(whole.train), len(whole.test)) == (0, 20)


def test_slices_of_saved_tables(tmp_path: Path) -> None:
    hub.DatasetDict({"train": _table(0, 9), "more": _table(9, 6)}).save_to_disk(tmp_path / "saved")
    dataset = _load(tmp_path / "saved", train_split="train+more[:3]", test_split="more[3:]")
    _check(dataset, list(range(12)), list(range(12, 15)))


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    _table(0, 9).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"saved: can't be loaded"):
        _load(tmp_path / "saved")


def test_parquet_files_and_slices(tmp_path: Path) -> None:
    folder = tmp_path / "parquet"
    folder.mkdir()
    _table(0, 9).to_parquet(folder / "train.parquet")
    _table(9, 4).to_parquet(folder / "test.parquet")
    _check(_load(folder), list(range(9)), list(range(9, 13)))
    sliced = _load(folder, train_split="train[:6]", test_split="train[6:]")
    _check(sliced, list(range(6)), [6, 7, 8])
    with pytest.raises(UserError, match=r"split 'dev': can't be loaded"):
        _load(folder, test_split="dev")


def test_images_in_class_folders(tmp_path: Path) -> None:
    for i in range(12):
        folder = tmp_path / "images" / ("train" if i < 9 else "test") / _NAMES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        _image(i).save(folder / f"{i:02d}.png")
    dataset = _load(tmp_path / "images")
    red = dataset.train.images[torch.arange(9)][:, 0, 0, 0].tolist()
    named = [dataset.classes[k] for k in dataset.train.labels.tolist()]
    assert dict(zip(red, named, strict=True)) == {i: _NAMES[i % 3] for i in range(9)}


def test_labels_that_are_text(tmp_path: Path) -> None:
    kinds = ["b", "a", "b", "c", "a", "b"]
    parts = {"train": _table(0, 6, kind=kinds), "test": _table(6, 3, kind=["c", "a", "a"])}
    hub.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    dataset = _load(tmp_path / "saved", label_column="kind")
    assert dataset.classes == ("a", "b", "c")
    assert dataset.train.labels.tolist() == [1, 0, 1, 2, 0, 1]
    assert dataset.test.labels.tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image_column": "img"}, "image_column: there is no column 'img'; did you mean 'image'"),
        (
            {"label_column": "lable"},
            "label_column: there is no column 'lable'; did you mean 'label'",
        ),
        ({"image_column": "label"}, "not images"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, keys: dict[str, str], message: str) -> None:
    parts = {"train": _table(0, 3), "test": _table(3, 3)}
    hub.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=message):
        _load(tmp_path / "saved", **keys)


def test_rows_without_a_label_are_refused(tmp_path: Path) -> None:
    unlabelled = _table(3, 2).map(lambda row: {**row, "label": -1})
    hub.DatasetDict({"train": _table(0, 3), "test": unlabelled}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="test: classes that training has not: rows without"):
        _load(tmp_path / "saved")


def test_nothing_there_and_code_that_comes_with_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be loaded"):
        _load(tmp_path / "absent")
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="can't be loaded"):
        _load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'cnnrun\[huggingface\]'"):
        huggingface(ImageOptions(), path="mnist")
