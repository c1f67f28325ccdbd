"""torchvision's sets with attributes and masks: small copies of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as theirs

from cnnrun.data.dataset import Split
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.csv_file import csv_file
from cnnrun.data.sources.torchvision_targets import celeba, oxford_pets_masks, voc_segmentation
from cnnrun.data.targets import IGNORED


def _image(file: Path, value: int, mask: Any = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((6, 8), value, np.uint8) if mask is None else mask
    Image.fromarray(pixels).save(file, "PNG")  # what torchvision opens goes by content


def _held(split: Split) -> dict[int, Any]:
    values = split.images[torch.arange(len(split))][:, 0, 0, 0].tolist()
    return dict(zip(values, split.targets.held.numpy(), strict=True))


def test_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.celeba.check_integrity", lambda *_: True)
    base = tmp_path / "celeba"
    names = [f"{k:06}.jpg" for k in range(9)]
    rows = {name: [1 if (k >> bit) & 1 else -1 for bit in range(3)] for k, name in enumerate(names)}
    for k, name in enumerate(names):
        _image(base / "img_align_celeba" / name, k)
    lines = [f"{n}  {' '.join(map(str, row))}" for n, row in rows.items()]
    (base / "list_attr_celeba.txt").write_text("\n".join(["9", "Bald Smiling Young", *lines]))
    for name in ("list_bbox", "list_landmarks_align"):
        (base / f"{name}_celeba.txt").write_text("\n".join(["9", "x", *(f"{n} 1" for n in names)]))
    (base / "identity_CelebA.txt").write_text("\n".join(f"{n} 1" for n in names))
    parts = "\n".join(f"{n} {k // 3}" for k, n in enumerate(names))
    (base / "list_eval_partition.txt").write_text(parts)
    data = celeba(ImageOptions(cache="ram"), root=str(tmp_path), download=False)
    assert data.classes == ("Bald", "Smiling", "Young")
    for number, split in enumerate(("train", "validation", "test")):
        their = theirs.CelebA(tmp_path, ("train", "valid", "test")[number])
        expected = {int(np.asarray(i).flat[0]): row.numpy() for i, row in their}
        held = _held(data.split(split))
        assert held.keys() == expected.keys()
        assert all(np.array_equal(held[k], expected[k]) for k in expected)


def test_masks_of_pets(tmp_path: Path) -> None:
    base = tmp_path / "oxford-iiit-pet"
    trimap = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3 + 1
    for first, split in ((0, "trainval"), (4, "test")):
        names = [f"Cat_{k}" for k in range(first, first + 4)]
        for k, name in enumerate(names, first):
            _image(base / "images" / f"{name}.jpg", k)
            _image(base / "annotations" / "trimaps" / f"{name}.png", 0, np.roll(trimap, k))
        lines = "\n".join(f"{name} 1 1 1" for name in names)
        (base / "annotations" / f"{split}.txt").write_text(lines)
    data = oxford_pets_masks(ImageOptions(cache="ram"), root=str(tmp_path), download=False)
    assert data.classes == ("background", "pet")
    table = np.array([IGNORED, 1, 0, IGNORED])
    for split, numbers in (("train", range(4)), ("test", range(4, 8))):
        held = _held(data.split(split))
        assert sorted(held) == list(numbers)
        assert all(np.array_equal(held[k], table[np.roll(trimap, k)]) for k in numbers)


def test_masks_of_voc(tmp_path: Path) -> None:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    for first, split in ((0, "train"), (4, "val")):
        for k in range(first, first + 4):
            _image(base / "JPEGImages" / f"{k}.jpg", k)
            mask = np.full((6, 8), 20 - k, np.uint8)
            mask[0] = IGNORED
            _image(base / "SegmentationClass" / f"{k}.png", 0, mask)
        names = "\n".join(map(str, range(first, first + 4)))
        (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)
    data = voc_segmentation(ImageOptions(cache="ram"), root=str(tmp_path), download=False)
    assert (len(data.classes), data.classes[20]) == (21, "tvmonitor")
    for part, split in ((data.train, "train"), (data.test, "val")):
        their = theirs.VOCSegmentation(tmp_path, image_set=split)
        expected = {int(np.asarray(i).flat[0]): np.asarray(mask) for i, mask in their}
        held = _held(part)
        assert held.keys() == expected.keys()
        assert all(np.array_equal(held[k], expected[k]) for k in expected)


@pytest.mark.parametrize("extension", ["png", ".png"])
def test_a_table_of_names_alone(tmp_path: Path, extension: str) -> None:
    for k in range(4):
        _image(tmp_path / "train" / f"a{k}.b.png", k)
    rows = "\n".join(f"a{k}.b,{k % 2}" for k in range(4))
    (tmp_path / "train.csv").write_text(f"id,label\n{rows}\n")
    keys = {"path_column": "id", "image_folder": "train", "extension": extension}
    file = str(tmp_path / "train.csv")
    data = csv_file(ImageOptions(cache="ram"), file=file, test=1, **keys)
    assert len(data.train) + len(data.test) == 4
