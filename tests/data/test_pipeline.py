"""Augmentations in the order of the list, and the way from uint8 to normalized."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv
from torch import Tensor

from cnnrun.data.augmentations.base import Augmentation
from cnnrun.data.augmentations.color import Brightness, Contrast
from cnnrun.data.augmentations.geometric import (
    HorizontalFlip,
    Rotation,
    ShiftCrop,
    Translation,
    VerticalFlip,
)
from cnnrun.data.augmentations.mixing import Cutmix, Mixup
from cnnrun.data.augmentations.resampling import Warp, resample
from cnnrun.data.pipeline import Pipeline
from cnnrun.registry import augmentations


def random_images(count: int = 4, channels: int = 3, height: int = 24, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def pipeline(*items: Augmentation, channels: int = 3, interpolation: Any = "nearest") -> Pipeline:
    return Pipeline(
        items,
        [0.4, 0.5, 0.6][:channels],
        [0.2, 0.25, 0.3][:channels],
        interpolation=interpolation,
        device=torch.device("cpu"),
        num_classes=5,
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Several augmentations ---------------------------------------------------------------------------


def test_neighbours_are_applied_in_the_order_of_the_list() -> None:
    images = random_images(30)
    items = (HorizontalFlip(), ShiftCrop(padding=6), VerticalFlip(), Translation(fraction=0.2))
    result, steps = pipeline(*items).augment_with_draws(images, generator())
    canvas = F.pad(images, (40,) * 4)  # so large that nothing is lost on the way
    for item, (_, draws) in zip(items, steps, strict=True):
        canvas = resample(canvas, [Warp(item.matrices(draws))], "nearest")
    torch.testing.assert_close(result, canvas[..., 40:-40, 40:-40] / 255)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "edge"])
@pytest.mark.parametrize("rotation_first", [True, False])
def test_padding_sees_what_came_before(mode: Any, rotation_first: bool, interpolation: Any) -> None:
    """By quarter turns and whole pixels, one resampling equals one after the other exactly."""
    images = random_images(4, 3, 12, 12)
    turn = Rotation().matrices({"degrees": torch.tensor([0.0, 90.0, 180.0, 270.0])})
    crop = ShiftCrop(padding_mode=mode)
    draws = {"right": torch.tensor([3, -4, 2, 4]), "down": torch.tensor([-1, 4, 2, -3])}
    warps = [Warp(turn), Warp(crop.matrices(draws), mode)]
    if not rotation_first:
        warps.reverse()
    expected = resample(resample(images, warps[:1], "nearest"), warps[1:], "nearest") / 255
    result = resample(images / 255, warps, interpolation)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)


def test_corners_that_became_black_stay_black_under_reflection() -> None:
    white = torch.full((1, 1, 11, 11), 255, dtype=torch.uint8)
    crop = ShiftCrop(padding_mode="reflect").matrices(
        {"right": torch.tensor([0]), "down": torch.tensor([0])}
    )
    turn = Rotation().matrices({"degrees": torch.tensor([45.0])})
    rotated_last = resample(white, [Warp(crop, "reflect"), Warp(turn)], "nearest")
    assert torch.equal(rotated_last, resample(white, [Warp(turn)], "nearest"))


def test_color_between_moves_keeps_its_place() -> None:
    images = random_images()
    shift, contrast = ShiftCrop(padding=8), Contrast(amount=0.9)
    result, steps = pipeline(contrast, shift, contrast).augment_with_draws(images, generator())
    (_, first), (_, moved), (_, last) = steps
    expected = contrast.apply(images / 255, first)
    expected = resample(expected, [Warp(shift.matrices(moved))], "nearest")
    torch.testing.assert_close(result, contrast.apply(expected, last))


# The whole way -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_only_normalizes(channels: int) -> None:
    images, labels = random_images(channels=channels), torch.arange(4)
    path = pipeline(HorizontalFlip(), Mixup(), channels=channels)
    result, targets = path(images, labels, None)
    expected = tv.normalize(
        tv.to_dtype(images, torch.float32, scale=True),
        [0.4, 0.5, 0.6][:channels],
        [0.2, 0.25, 0.3][:channels],
    )
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert targets is labels


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_training_normalizes_what_was_augmented(interpolation: Any) -> None:
    images, labels = random_images(), torch.arange(4)
    path = pipeline(Rotation(degrees=90), Brightness(), interpolation=interpolation)
    augmented, _ = path.augment_with_draws(images, generator(7))
    result, targets = path(images, labels, generator(7))
    torch.testing.assert_close(result, path.normalize(augmented))
    assert targets is labels


def test_normalize_and_denormalize_are_inverse_and_leave_their_input() -> None:
    images = random_images()
    path = pipeline()
    values = path.denormalize(path.normalize(images))
    torch.testing.assert_close(values, images / 255, rtol=0, atol=1e-6)
    before = values.clone()
    path.normalize(values)
    assert torch.equal(values, before)


def test_mixing_gives_shares_of_classes() -> None:
    labels = torch.tensor([0, 1, 1, 4])
    _, targets = pipeline(Mixup(alpha=1.0), Cutmix())(random_images(), labels, generator())
    assert targets.shape == (4, 5)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    assert targets[2, 1] > 0


def test_draws_come_with_names_and_captions() -> None:
    path = pipeline(Rotation(degrees=30), HorizontalFlip(), Brightness())
    images = random_images(1).expand(6, -1, -1, -1)
    result, steps = path.augment_with_draws(images, generator())
    assert [name for name, _ in steps] == ["rotation", "horizontal_flip", "brightness"]
    assert result.shape == images.shape
    captions = path.captions(steps)
    assert len(captions) == 6
    assert captions[0].startswith("rotation: degrees ")
    assert "\nhorizontal_flip: flipped " in captions[0]


def test_the_list_of_a_yaml_file_builds_a_pipeline() -> None:
    schema = augmentations.get("shift_crop").schema()
    item = augmentations.build(schema.model_validate({"padding_mode": "reflect", "padding": 2}))
    assert (item.padding, item.padding_mode) == (2, "reflect")
