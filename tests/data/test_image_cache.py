"""The cache of decoded images: what is damaged is made anew, and nothing of others is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.folder import folder


def _load(root: Path) -> Dataset:
    options = ImageOptions(cache="disk", cache_dir=str(root / "cache"))
    return folder(options, root=str(root / "images"))


def _pixels(dataset: Dataset) -> torch.Tensor:
    return dataset.train.images[torch.arange(len(dataset.train))]


@pytest.mark.parametrize("ending", [".npy", ".crc", ".json"])
@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 0.999, "cut", "empty"])
def test_no_damage_is_trained_on(tmp_path: Path, ending: str, place: float | str) -> None:
    for number in range(12):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * number).save(file)
    whole = _pixels(_load(tmp_path))
    for stored in (tmp_path / "cache").glob(f"pictures-*{ending}"):
        content = bytearray(stored.read_bytes())
        if isinstance(place, str):
            content = content[: len(content) // 2] if place == "cut" else bytearray()
        else:
            content[int(place * len(content))] ^= 1
        stored.write_bytes(content)
    assert torch.equal(_pixels(_load(tmp_path)), whole)
    assert torch.equal(_pixels(_load(tmp_path)), whole)


def test_partial_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    theirs = tmp_path / "cache" / "video.mp4.partial"
    ours = tmp_path / "cache" / f"pictures-{'0' * 32}.npy.12-{'a' * 8}.partial"
    for file in (theirs, ours):
        file.write_bytes(b"x")
        os.utime(file, (0, 0))
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (8, 8), number).save(tmp_path / "images" / name / f"{number}.png")
    _load(tmp_path)
    assert theirs.exists()
    assert not ours.exists()
