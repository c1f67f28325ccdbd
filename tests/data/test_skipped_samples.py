"""`dataset.on_error: skip`: one rule for a sample whose image, or whose target, can't be read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets as hub
import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import BadImageError, ImageOptions
from cnnrun.data.sources.csv_file import csv_file
from cnnrun.data.sources.huggingface import huggingface
from cnnrun.data.sources.mask_folders import mask_folders
from cnnrun.data.sources.webdataset_shards import webdataset
from cnnrun.errors import UserError
from tests.data.dicom_files import dicom_bytes

COUNT = 8


def _png(value: int, shape: tuple[int, int] = (6, 8)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _options(folder: Path, on_error: Any = "skip") -> ImageOptions:
    return ImageOptions(on_error=on_error, cache_dir=str(folder / "cache"))


def _levels(dataset: Dataset) -> set[int]:
    """Which images there are: image k is of the gray k."""
    splits = [dataset.split(name) for name in ("train", "validation", "test")]
    images = [split.images[torch.arange(len(split))] for split in splits]
    return {int(value) for part in images for value in part[:, 0, 0, 0]}


BAD_MASKS = {
    "cut short": (_png(1)[:-30], "damaged"),
    "empty": (b"", "the file is empty"),
    "of another size": (_png(1, (3, 8)), "are of different sizes"),
    "of an unknown class": (_png(7), "a mask with the value 7"),
    "a web page": (b"<!doctype html>", "a web page"),
}


@pytest.mark.parametrize("kind", BAD_MASKS)
@pytest.mark.parametrize("tabled", [False, True])
def test_a_bad_mask_is_treated_as_a_bad_image(tmp_path: Path, kind: str, tabled: bool) -> None:
    content, reason = BAD_MASKS[kind]
    for k in range(COUNT):
        for folder, made in (("images", _png(k)), ("masks", _png(k % 2))):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{k}.png").write_bytes(made)
    (tmp_path / "masks/3.png").write_bytes(content)
    (tmp_path / "images/5.png").write_bytes(_png(5)[:40])
    rows = [f"images/{k}.png,masks/{k}.png,{'train' if k < 6 else 'test'}" for k in range(COUNT)]
    (tmp_path / "t.csv").write_text("\n".join(["path,mask,split", *rows]))

    def load(options: ImageOptions) -> Dataset:
        classes = ["ground", "brick"]
        if tabled:
            file = str(tmp_path / "t.csv")
            return csv_file(options, file=file, mask_column="mask", mask_classes=classes)
        return mask_folders(options, root=str(tmp_path), mask_classes=classes)

    options = _options(tmp_path)
    dataset = load(options)
    assert _levels(dataset) == set(range(COUNT)) - {3, 5}
    assert {Path(bad.path).name for bad in options.bad_files} == {"3.png", "5.png"}
    assert any(reason in bad.reason for bad in options.bad_files)
    for name in ("train", "test"):
        split = dataset.split(name)
        images = split.images[torch.arange(len(split))][:, 0]
        assert torch.equal(split.targets.held, images % 2), "each image has its own mask"
        assert len(split.ids) == len(split)
    (tmp_path / "images/5.png").write_bytes(_png(5))
    with pytest.raises(BadImageError, match=r"masks/3\.png") as error:
        load(_options(tmp_path, "stop"))
    assert reason in str(error.value)
    assert "dataset.on_error: skip" in str(error.value)


def test_masks_that_are_all_bad_are_no_data(tmp_path: Path) -> None:
    for k in range(COUNT):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{k}.png").write_bytes(_png(k + 4))
    with pytest.raises(UserError, match="no file of the train split can be read; the first is a m"):
        mask_folders(_options(tmp_path), root=str(tmp_path), mask_classes=["a", "b"])


BAD_ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such file": ("9.png,1.5,train", {}, "there is no file 9.png"),
    "too few cells": ("3.png,1.5", {}, "2 cells, but the header has 3"),
    "no path": (",1.5,train", {}, "no path"),
    "an unknown split": ("3.png,1.5,foo", {}, "the split is 'foo'"),
    "no number": ("3.png,x,train", {"value_columns": ["label"]}, "label is 'x'"),
    "no mark": ("3.png,2,train", {"label_columns": ["label"]}, "label is '2'"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_left_out_with_its_line(tmp_path: Path, kind: str) -> None:
    row, keys, reason = BAD_ROWS[kind]
    cells = [f"{k}.png,{k % 2},{'train' if k < 6 else 'test'}" for k in range(COUNT)]
    for k in range(COUNT):
        (tmp_path / f"{k}.png").write_bytes(_png(k))
    file = tmp_path / "t.csv"
    cells[3] = row
    file.write_text("\n".join(["path,label,split", *cells]))
    with pytest.raises(UserError, match=rf"t\.csv:5: {reason}"):
        csv_file(_options(tmp_path, "stop"), file=str(file), **keys)
    options = _options(tmp_path)
    assert _levels(csv_file(options, file=str(file), **keys)) == set(range(COUNT)) - {3}
    (bad,) = options.bad_files
    assert bad.path == f"{file}:5"
    assert reason in bad.reason


def test_what_is_wrong_with_the_whole_table_is_never_skipped(tmp_path: Path) -> None:
    for k in range(2):
        (tmp_path / f"{k}.png").write_bytes(_png(k))
    file = tmp_path / "t.csv"
    file.write_text("path,a\n0.png,0\n1.png,-1\n")
    with pytest.raises(UserError, match=r"t\.csv:3: a has both -1 and 0"):
        csv_file(_options(tmp_path), file=str(file), label_columns=["a"])


def _write_tar(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("bad", ["no label", "cut short"])
def test_a_bad_member_of_a_shard_is_left_out(tmp_path: Path, bad: str) -> None:
    members = {f"{k}.png": _png(k) for k in range(COUNT)}
    members |= {f"{k}.cls": str(k % 2).encode() for k in range(COUNT)}
    _write_tar(tmp_path / "b.tar", {k: members[k] for k in ("7.png", "7.cls", "6.png", "6.cls")})
    if bad == "no label":
        del members["3.cls"]
    else:
        members["3.png"] = members["3.png"][:40]
    _write_tar(tmp_path / "a.tar", members)

    def load(options: ImageOptions) -> Dataset:
        train, test = str(tmp_path / "a.tar"), str(tmp_path / "b.tar")
        return webdataset(options, train=train, test=test, spool=str(tmp_path / "spool"))

    with pytest.raises(UserError, match=r"a\.tar"):
        load(_options(tmp_path, "stop"))
    for _ in range(2):  # the second time from the stored index
        options = _options(tmp_path)
        dataset = load(options)
        assert _levels(dataset) == set(range(COUNT)) - {3}
        images = dataset.train.images[torch.arange(len(dataset.train))]
        assert torch.equal(dataset.train.labels, images[:, 0, 0, 0].long() % 2)
        assert [found.path for found in options.bad_files] == [f"{tmp_path / 'a.tar'}/3"]


def test_a_shard_without_any_label_is_refused(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    _write_tar(shard, {f"{k}.png": _png(k) for k in range(3)})
    with pytest.raises(UserError, match=r"a\.tar: no image has a label '\.cls'"):
        webdataset(_options(tmp_path), train=str(shard), test=str(shard), spool=str(tmp_path))


HUB: dict[str, tuple[Any, Callable[[int], Any], Any, dict[str, Any]]] = {
    "class": (hub.ClassLabel(names=["a", "b"]), lambda k: k % 2, None, {}),
    "unpublished class": (hub.ClassLabel(names=["a", "b"]), lambda k: k % 2, -1, {}),
    "labels": (hub.List(hub.Value("string")), lambda k: ["ab"[k % 2]], None, {}),
    "number": (hub.Value("float32"), lambda k: k / 2, None, {}),
    "number that is NaN": (hub.Value("float32"), lambda k: k / 2, float("nan"), {}),
    "mask": (hub.Image(), lambda k: Image.new("L", (8, 6), k % 2), None, {"mask_column": "label"}),
}


@pytest.mark.parametrize("kind", HUB)
def test_a_row_of_the_hub_without_image_or_target_is_left_out(tmp_path: Path, kind: str) -> None:
    feature, target, missing, keys = HUB[kind]
    cells = [missing if k == 3 else target(k) for k in range(COUNT)]
    images = [None if k == 5 else Image.new("L", (8, 6), k) for k in range(COUNT)]
    features = hub.Features({"image": hub.Image(), "label": feature})
    table = hub.Dataset.from_dict({"image": images, "label": cells}, features=features)
    hub.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "saved")
    path = str(tmp_path / "saved")
    with pytest.raises(UserError):
        huggingface(_options(tmp_path, "stop"), path=path, **keys)
    options = _options(tmp_path)
    dataset = huggingface(options, path=path, **keys)
    assert _levels(dataset) == set(range(COUNT)) - {3, 5}
    assert len(options.bad_files) == 4  # of both splits
    assert len(dataset.train.targets) == COUNT - 2


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "dcm"])
def test_images_of_every_kind_that_are_cut_short_are_left_out(tmp_path: Path, ending: str) -> None:
    rows = []
    for k in range(COUNT):
        file = tmp_path / f"{k}.{ending}"
        if ending == "dcm":
            file.write_bytes(dicom_bytes(np.full((16, 16), k, np.uint8)))
        else:
            random = np.random.default_rng(k).integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(random).save(file)
        rows.append(f"{file.name},{'ab'[k % 2]},{'train' if k < 6 else 'test'}")
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    whole = (tmp_path / f"3.{ending}").read_bytes()
    (tmp_path / f"3.{ending}").write_bytes(whole[: -len(whole) // 4])
    options = _options(tmp_path)
    dataset = csv_file(options, file=str(tmp_path / "t.csv"))
    assert len(dataset.train) + len(dataset.test) == COUNT - 1
    assert [Path(bad.path).name for bad in options.bad_files] == [f"3.{ending}"]
