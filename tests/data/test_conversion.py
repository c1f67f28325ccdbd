"""Sizes and channels of images that come as arrays, against Pillow."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.config.experiment import load
from cnnrun.data.images.conversion import convert, convert_masks, to_channels
from cnnrun.data.images.decoding import ImageFormat, Resize
from cnnrun.data.images.framing import frame
from cnnrun.engine.build_data import build_dataset

RANDOM = np.random.default_rng(0)
RGB = torch.from_numpy(RANDOM.integers(0, 256, (3, 3, 20, 30), dtype=np.uint8))


def _pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def test_gray_is_pillows() -> None:
    gray = to_channels(RGB, 1)
    for image, ours in zip(RGB, gray, strict=True):
        assert np.array_equal(np.asarray(_pillow(image).convert("L")), ours[0].numpy())
    assert torch.equal(to_channels(gray, 3), gray.expand(-1, 3, -1, -1))
    assert to_channels(gray, 1) is gray


@pytest.mark.parametrize(
    ("resize", "box", "size"),
    [("squash", (0, 0, 30, 20), (10, 12)), ("crop", (5, 0, 25, 20), (10, 10))],
)
def test_resizing_is_pillows(
    resize: str, box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    ours = convert(RGB, ImageFormat(size, 3, resize))  # type: ignore[arg-type]
    for image, result in zip(RGB, ours, strict=True):
        wanted = _pillow(image).crop(box).resize(size[::-1], Image.Resampling.BILINEAR)
        difference = np.asarray(wanted).astype(int) - result.permute(1, 2, 0).numpy()
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("resize", "box"),
    [("squash", (3, 2, 27, 18)), ("crop", (7, 2, 23, 18)), ("pad", (3, 2, 27, 18))],
)
def test_only_the_kept_fraction_is_resized(resize: Resize, box: tuple[int, ...]) -> None:
    """Of arrays and of files alike, and once: 0.8 of what `resize` takes, in its middle."""
    form = ImageFormat((16, 16), 3, resize, crop_fraction=0.8)
    left, top, right, bottom = box
    alone = convert(RGB[:, :, top:bottom, left:right], replace(form, crop_fraction=1.0))
    assert torch.equal(convert(RGB, form), alone)
    content = io.BytesIO()
    _pillow(RGB[0]).save(content, "PNG")
    out = torch.empty(1, 3, 16, 16, dtype=torch.uint8)
    frame(content.getvalue(), form, out)
    assert (out.int() - alone[:1].int()).abs().max() <= 1
    masks = torch.arange(30 * 20).remainder(7).to(torch.uint8).view(1, 20, 30)
    kept = convert_masks(masks[:, top:bottom, left:right], replace(form, crop_fraction=1.0))
    assert torch.equal(convert_masks(masks, form), kept)


def test_files_are_cropped_once(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(3):
            _pillow(RGB[number]).save(tmp_path / name / f"{number}.png")
    data = f"{{name: folder, root: {tmp_path}, size: 16, crop_fraction: 0.8}}"
    (tmp_path / "x.yaml").write_text(f"dataset: {data}\nmodel: cnn\n")
    dataset = build_dataset(load(tmp_path / "x.yaml"), whole=True)
    wanted = convert(RGB, ImageFormat((16, 16), 3, crop_fraction=0.8))
    found = dataset.test.images[torch.arange(3)]
    assert (found.int() - wanted.int()).abs().max() <= 1


def test_padding_keeps_proportions_between_black_borders() -> None:
    padded = convert(RGB, ImageFormat((60, 60), 3, "pad"))
    assert padded.shape == (3, 3, 60, 60)
    assert padded[:, :, :10].max() == padded[:, :, 50:].max() == 0
    assert torch.equal(padded[:, :, 10:50], convert(RGB, ImageFormat((40, 60), 3, "squash")))
