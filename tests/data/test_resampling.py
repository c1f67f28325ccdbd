"""Geometric augmentations, compared with Pillow, numpy and torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from cnnrun.data.augmentations.base import Geometric
from cnnrun.data.augmentations.geometric import (
    HorizontalFlip,
    RandomResizedCrop,
    Rotation,
    Scale,
    Shear,
    ShiftCrop,
    Translation,
    VerticalFlip,
)
from cnnrun.data.augmentations.resampling import Warp, resample
from cnnrun.data.augmentations.sampling import Sampler

SIZES = st.tuples(st.sampled_from([1, 3]), st.integers(2, 40), st.integers(2, 40))


def random_images(count: int = 4, channels: int = 3, height: int = 24, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def move(
    images: Tensor, item: Geometric, interpolation: Any = "nearest", **draws: Sequence[float]
) -> Tensor:
    """The images moved by an augmentation as if it had drawn `draws`."""
    matrices = item.matrices({name: torch.tensor(values) for name, values in draws.items()})
    return resample(images, [Warp(matrices, item.padding_mode)], interpolation)


def pillow(image: Tensor, transform: Any) -> Tensor:
    """(C, H, W) uint8 through Pillow."""
    array = image.permute(1, 2, 0).numpy().squeeze()
    result = np.asarray(transform(Image.fromarray(array))).copy()
    return torch.from_numpy(result).view(*image.shape[1:], -1).permute(2, 0, 1)


# Nearest pixels ----------------------------------------------------------------------------------


@given(size=SIZES, angle=st.floats(-180, 180, width=32))
@settings(max_examples=200, deadline=None)
def test_nearest_rotation_is_pillows_to_the_pixel(size: tuple[int, int, int], angle: float) -> None:
    (image,) = images = random_images(1, *size)
    (result,) = move(images, Rotation(), degrees=[angle])
    assert torch.equal(result, pillow(image, lambda opened: opened.rotate(angle)))


def test_a_whole_batch_rotates_as_pillow_does() -> None:
    images = random_images(200, 3, 32, 32)
    angles = torch.linspace(-10, 10, 200)
    expected = [
        pillow(image, lambda opened, angle=angle: opened.rotate(angle))
        for image, angle in zip(images, angles.tolist(), strict=True)
    ]
    assert torch.equal(move(images, Rotation(), degrees=angles.tolist()), torch.stack(expected))


@given(
    size=SIZES,
    angle=st.floats(1, 89, width=32),
    factor=st.floats(0.5, 2, width=32),
    slant=st.floats(-45, 45, width=32),
)
@settings(max_examples=100, deadline=None)
def test_neighbours_are_one_affine_transform_of_pillow(
    size: tuple[int, int, int], angle: float, factor: float, slant: float
) -> None:
    (image,) = images = random_images(1, *size)
    warps = [
        Warp(Scale().matrices({"factor": torch.tensor([factor])})),
        Warp(Shear().matrices({"degrees": torch.tensor([slant])})),
        Warp(Rotation().matrices({"degrees": torch.tensor([angle])})),
    ]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    tan = np.tan(np.radians(slant))
    (a, b), (d, e) = np.array([[1, tan], [0, 1]]) @ [[cos, -sin], [sin, cos]] / factor
    x, y = size[2] / 2, size[1] / 2
    matrix = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    expected = pillow(image, lambda p: p.transform(p.size, Image.Transform.AFFINE, matrix))
    assert torch.equal(resample(images, warps, "nearest")[0], expected)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.0])
def test_scale_is_torchvisions(factor: float) -> None:
    images = random_images() / 255
    expected = tv.affine(
        images,
        angle=0,
        translate=[0, 0],
        scale=factor,
        shear=[0, 0],
        interpolation=InterpolationMode.BILINEAR,
    )
    moved = move(images, Scale(), "bilinear", factor=[factor] * 4)
    torch.testing.assert_close(moved, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("item", "axis"), [(HorizontalFlip(), 3), (VerticalFlip(), 2)])
@pytest.mark.parametrize("size", [(24, 32), (7, 5), (1, 2)])
def test_flips_are_exact(item: Geometric, axis: int, size: tuple[int, int]) -> None:
    images = random_images(2, 3, *size)
    flipped = move(images, item, flipped=[True, False])
    assert torch.equal(flipped[0], images.flip(axis)[0])
    assert torch.equal(flipped[1], images[1])
    assert torch.equal(move(flipped, item, flipped=[True, False]), images)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@given(right=st.integers(-9, 9), down=st.integers(-9, 9))
@settings(max_examples=30, deadline=None)
def test_translation_moves_by_whole_pixels(interpolation: str, right: int, down: int) -> None:
    images = random_images(1)
    expected = tv.affine(images, angle=0, translate=[right, down], scale=1, shear=[0, 0])
    moved = move(images, Translation(), interpolation, right=[right], down=[down])
    if interpolation == "bilinear":
        moved = (moved * 255).round().byte()
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("zeros", "constant"), ("reflect", "reflect"), ("edge", "edge")]
)
@pytest.mark.parametrize("size", [(6, 8), (3, 3), (1, 4)])
def test_shift_crop_pads_as_numpy_does(
    mode: Any, numpy_mode: Any, size: tuple[int, int], interpolation: str
) -> None:
    height, width = size
    (image,) = images = random_images(1, 3, height, width)
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (4, 4), (4, 4)), mode=numpy_mode))
    item = ShiftCrop(padding_mode=mode)
    for right in range(-4, 5):
        for down in range(-4, 5):
            (moved,) = move(images, item, interpolation, right=[right], down=[down])
            if interpolation == "bilinear":
                moved = (moved * 255).round().byte()
            expected = padded[:, 4 - down : 4 - down + height, 4 - right : 4 - right + width]
            assert torch.equal(moved, expected)


# Between pixels ----------------------------------------------------------------------------------


@given(size=SIZES, angle=st.floats(-180, 180))
@settings(max_examples=50, deadline=None)
def test_bilinear_rotation_is_torchvisions(size: tuple[int, int, int], angle: float) -> None:
    images = random_images(1, *size)
    expected = tv.rotate(images / 255, angle, InterpolationMode.BILINEAR)
    moved = move(images, Rotation(), "bilinear", degrees=[angle])
    torch.testing.assert_close(moved, expected, rtol=0, atol=2e-3)


@given(st.integers(0, 2**20))
@settings(max_examples=50, deadline=None)
def test_random_resized_crop_is_torchvisions(seed: int) -> None:
    height, width = 24, 32
    images = random_images(1, 3, height, width)
    item = RandomResizedCrop()
    sampler = Sampler(1, height, width, torch.Generator().manual_seed(seed))
    draws = item.draw(sampler)
    result = resample(images, [Warp(item.matrices(draws), item.padding_mode)], "bilinear")
    share, move_x, move_y = (draws[name].item() for name in ("width", "right", "down"))
    wide, high = round(share * width), round(draws["height"].item() * height)
    left, top = round(move_x + (width - wide) / 2), round(move_y + (height - high) / 2)
    expected = tv.resized_crop(images / 255, top, left, high, wide, [height, width])
    # At the rim of the crop torchvision repeats its last pixel, we read the next one of the image.
    rim_x, rim_y = -(-width // (2 * wide)), -(-height // (2 * high))
    inner = (..., slice(rim_y, height - rim_y), slice(rim_x, width - rim_x))
    torch.testing.assert_close(result[inner], expected[inner], rtol=0, atol=2e-3)


def test_a_crop_has_no_dark_rim() -> None:
    white, item = torch.full((50, 1, 9, 9), 255, dtype=torch.uint8), RandomResizedCrop()
    draws = item.draw(Sampler(50, 9, 9, torch.Generator().manual_seed(0)))
    result = resample(white, [Warp(item.matrices(draws), item.padding_mode)], "bilinear")
    torch.testing.assert_close(result, torch.ones(50, 1, 9, 9))
