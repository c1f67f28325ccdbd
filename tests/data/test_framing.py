"""Images brought to one size, byte for byte as torch's own resizing does it the plain way."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cnnrun.data.images.decoding import ImageFormat, Resize
from cnnrun.data.images.formats import open_image
from cnnrun.data.images.framing import RandomCrop, frame, middle
from cnnrun.data.images.window import Window

CROP = RandomCrop(seed=5)


def image(height: int, width: int, channels: int, kind: str = "PNG") -> bytes:
    random = np.random.default_rng(height * 1000 + width)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB" if channels == 3 else "L").save(file, kind)
    return file.getvalue()


def resized(content: bytes, channels: int, window: Window, size: tuple[int, int]) -> Tensor:
    """The window (1, C, H, W) at that size, by F.interpolate."""
    pixels = torch.tensor(open_image(content).read(channels, window, size)).permute(2, 0, 1)[None]
    if pixels.shape[2:] != size:
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return pixels


def expected(content: bytes, form: ImageFormat, crop: RandomCrop | None) -> Tensor:
    height, width = open_image(content).size
    whole = Window(0, 0, height, width)
    if crop:
        return resized(content, form.channels, crop.window(height, width, 3, 8), form.size)
    if form.resize == "crop":
        window = middle(height, width, form.size[1] / form.size[0])
        return resized(content, form.channels, window, form.size)
    if form.resize == "squash":
        return resized(content, form.channels, whole, form.size)
    scale = min(form.size[0] / height, form.size[1] / width)
    inner = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (form.size[0] - inner[0]) // 2, (form.size[1] - inner[1]) // 2
    out = torch.zeros(1, form.channels, *form.size, dtype=torch.uint8)
    out[:, :, top : top + inner[0], left : left + inner[1]] = resized(
        content, form.channels, whole, inner
    )
    return out


sides = st.integers(1, 40)


@given(
    stored=st.tuples(sides, sides),
    size=st.tuples(sides, sides),
    channels=st.sampled_from([1, 3]),
    resize=st.sampled_from(["crop", "squash", "pad"]),
    crop=st.sampled_from([None, CROP]),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    kind=st.sampled_from(["PNG", "JPEG"]),
)
@example((20, 24), (20, 24), 3, "squash", None, torch.channels_last, "PNG")  # as it is
@example((40, 10), (20, 20), 3, "pad", None, torch.channels_last, "PNG")  # black at the sides
@example((10, 40), (20, 20), 3, "pad", None, torch.channels_last, "PNG")  # above and below
@settings(max_examples=150, deadline=None)
def test_every_way_of_framing_gives_the_bytes_of_interpolate(
    stored: tuple[int, int],
    size: tuple[int, int],
    channels: int,
    resize: Resize,
    crop: RandomCrop | None,
    layout: torch.memory_format,
    kind: str,
) -> None:
    content, form = image(*stored, channels, kind), ImageFormat(size, channels, resize)
    # One row of a batch whose other rows stay as they are.
    batch = torch.full((3, channels, *size), 77, dtype=torch.uint8).contiguous(memory_format=layout)
    frame(content, form, batch[1:2], crop, epoch=3, index=8)
    assert torch.equal(batch[1:2], expected(content, form, crop))
    assert (batch[::2] == 77).all()


@pytest.mark.parametrize("size", [(224, 224), (57, 31), (375, 500), (600, 700)])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_large_images_have_the_bytes_of_interpolate(size: tuple[int, int], resize: Resize) -> None:
    for channels in (1, 3):
        content = image(375, 500, channels, "JPEG")
        form = replace(ImageFormat(size, channels), resize=resize)
        for crop in (None, CROP):
            out = torch.empty(1, *size, channels, dtype=torch.uint8).permute(0, 3, 1, 2)
            frame(content, form, out, crop, epoch=3, index=8)
            assert torch.equal(out, expected(content, form, crop))
