"""Sizes and channels of images that come as arrays, against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.images.conversion import convert, to_channels
from cnnrun.data.images.decoding import ImageFormat

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


def test_padding_keeps_proportions_between_black_borders() -> None:
    padded = convert(RGB, ImageFormat((60, 60), 3, "pad"))
    assert padded.shape == (3, 3, 60, 60)
    assert padded[:, :, :10].max() == padded[:, :, 50:].max() == 0
    assert torch.equal(padded[:, :, 10:50], convert(RGB, ImageFormat((40, 60), 3, "squash")))
