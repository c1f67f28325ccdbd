"""What single augmentations do, compared with torchvision and with their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode

from cnnrun.data.augmentations import base, blur, color, policies, tone
from cnnrun.data.augmentations.color import ColorJitter, Grayscale
from cnnrun.data.augmentations.erasing import Cutout, Erasing
from cnnrun.data.augmentations.mixing import Cutmix, Mixup, symmetric_beta
from cnnrun.data.augmentations.policies import RandAugment, TrivialAugment
from cnnrun.data.augmentations.rectangles import draw_rectangles
from cnnrun.data.augmentations.sampling import Sampler


def random_images(count: int = 8, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    """(N, C, H, W) float32 in 0..1, of 256 levels."""
    generator = torch.Generator().manual_seed(count)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) / 255


def sampler(count: int, height: int = 16, width: int = 16, seed: int = 0) -> Sampler:
    return Sampler(count, height, width, torch.Generator().manual_seed(seed))


def one_by_one(operation: Any, images: Tensor, values: Tensor) -> Tensor:
    """A torchvision operation, which has one parameter a call, on each image with its own."""
    pairs = zip(images, values.tolist(), strict=True)
    return torch.stack([operation(image, value) for image, value in pairs])


# Color -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color.adjust_brightness, tv.adjust_brightness),
        (color.adjust_contrast, tv.adjust_contrast),
        (color.adjust_saturation, tv.adjust_saturation),
        (tone.sharpen, tv.adjust_sharpness),
    ],
)
@given(seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_factors_do_what_torchvision_does(ours: Any, theirs: Any, channels: int, seed: int) -> None:
    images = random_images(6, channels, 7, 9)
    factors = sampler(6, seed=seed).uniform(0, 2.5)
    torch.testing.assert_close(ours(images, factors), one_by_one(theirs, images, factors))


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_hue_turns_as_in_torchvision(seed: int) -> None:
    images = random_images(6)
    images[0] = 0.25  # gray has no hue
    turns = sampler(6, seed=seed).uniform(-0.5, 0.5)
    expected = one_by_one(tv.adjust_hue, images, turns)
    torch.testing.assert_close(color.adjust_hue(images, turns), expected, rtol=0, atol=1e-5)


def test_grayscale_is_the_gray_of_torchvision() -> None:
    item, images = Grayscale(probability=0.5), random_images()
    draws = item.draw(sampler(8))
    expected = torch.where(base.per_image(draws["gray"]), tv.rgb_to_grayscale(images, 3), images)
    torch.testing.assert_close(item.apply(images, draws), expected)


def test_color_jitter_is_its_four_parts_in_turn() -> None:
    item, images = ColorJitter(), random_images()
    draws = item.draw(sampler(8))
    expected = images
    for name in ("brightness", "contrast", "saturation", "hue"):
        expected = one_by_one(getattr(tv, f"adjust_{name}"), expected, draws[name])
    torch.testing.assert_close(item.apply(images, draws), expected, rtol=0, atol=1e-5)


def test_blur_is_torchvisions() -> None:
    images, sigmas = random_images(5), torch.tensor([0.1, 0.5, 0.9, 1.3, 2.0])
    expected = one_by_one(lambda image, s: tv.gaussian_blur(image, [7, 7], [s, s]), images, sigmas)
    torch.testing.assert_close(blur.gaussian_blur(images, sigmas, radius=3), expected)


# Covering ----------------------------------------------------------------------------------------


def test_cutout_covers_a_square_that_may_be_cut() -> None:
    item = Cutout(size=4)
    draws = item.draw(sampler(400, 12, 12))
    covered = (item.apply(torch.ones(400, 1, 12, 12), draws) == 0).sum((1, 2, 3))
    assert covered.max() == 16
    assert covered.min() == 4  # centre in the first corner: 2 x 2 are left


def test_erasing_covers_the_drawn_rectangle() -> None:
    item = Erasing(probability=1.0, fill=0.5)
    draws = item.draw(sampler(50))
    gray = item.apply(torch.zeros(50, 3, 16, 16), draws) == 0.5
    assert torch.equal(gray.sum((1, 2, 3)), (3 * draws["width"] * draws["height"]).long())
    assert gray.any(2).any(1).sum(1).eq(draws["width"]).all()


def test_rectangles_have_the_areas_and_shapes_asked_for() -> None:
    draws = draw_rectangles(sampler(2000, 100, 100), (0.1, 0.3), (0.5, 2.0))
    area = draws["width"] * draws["height"] / 10000
    ratio = draws["width"] / draws["height"]
    assert 0.095 < area.min() < 0.11
    assert 0.29 < area.max() < 0.305
    assert 0.48 < ratio.min() < 0.52
    assert 1.9 < ratio.max() < 2.05
    assert (draws["left"] + draws["width"]).max() == 100
    assert draws["top"].min() == 0


# Policies ----------------------------------------------------------------------------------------


def affine(image: Tensor, **changes: Any) -> Tensor:
    neutral = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    moved: Tensor = tv.affine(
        image, **(neutral | changes), interpolation=InterpolationMode.BILINEAR
    )
    return moved


def degrees(tangent: float) -> float:
    return float(np.degrees(np.arctan(tangent)))


TORCHVISION: dict[str, tuple[float, Any]] = {
    "identity": (0.0, lambda image: image),
    "rotate": (20.0, lambda image: tv.rotate(image, 20, InterpolationMode.BILINEAR)),
    "shear_x": (0.3, lambda image: affine(image, shear=[degrees(0.3), 0.0])),
    "shear_y": (-0.2, lambda image: affine(image, shear=[0.0, degrees(-0.2)])),
    "translate_x": (3.0, lambda image: affine(image, translate=[3, 0])),
    "translate_y": (-2.0, lambda image: affine(image, translate=[0, -2])),
    "brightness": (0.4, lambda image: tv.adjust_brightness(image, 1.4)),
    "contrast": (-0.6, lambda image: tv.adjust_contrast(image, 0.4)),
    "saturation": (0.9, lambda image: tv.adjust_saturation(image, 1.9)),
    "sharpness": (0.9, lambda image: tv.adjust_sharpness(image, 1.9)),
    "posterize": (3.0, lambda image: tv.posterize((image * 255).byte(), 5) / 255),
    "solarize": (0.5, lambda image: tv.solarize((image * 255).byte(), 128) / 255),
    "autocontrast": (0.0, tv.autocontrast),
    "equalize": (0.0, tv.equalize),
}


@pytest.mark.parametrize("name", policies.OPERATIONS)
def test_each_operation_of_a_policy_is_torchvisions(name: str) -> None:
    value, theirs = TORCHVISION[name]
    images = (random_images(3, 3, 21, 21) * 200 + 20).byte() / 255
    # The image in the middle has the operation, the others none.
    draws = {
        "operation_0": torch.tensor([0, policies.OPERATIONS.index(name), 0]),
        "value_0": torch.tensor([0.0, value, 0.0]),
    }
    result = TrivialAugment().apply(images, draws, "bilinear")
    expected = images.clone()
    expected[1] = theirs(images[1])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("policy", [RandAugment(), TrivialAugment()])
def test_policies_use_all_operations_alike(policy: Any) -> None:
    chosen = policy.draw(sampler(14000))["operation_0"]
    assert stats.chisquare(chosen.bincount(minlength=14)).pvalue > 1e-4


def test_randaugment_has_one_strength_and_both_signs() -> None:
    draws = RandAugment(num_ops=3, magnitude=15).draw(sampler(1000))
    for slot in range(3):
        rotated = draws[f"operation_{slot}"] == policies.OPERATIONS.index("rotate")
        assert set(draws[f"value_{slot}"][rotated].tolist()) == {-15, 15}


def test_trivial_augment_has_all_strengths() -> None:
    draws = TrivialAugment().draw(sampler(14000))
    solarized = draws["operation_0"] == policies.OPERATIONS.index("solarize")
    assert len(set(draws["value_0"][solarized].tolist())) == 31


@pytest.mark.parametrize("operation", [color.adjust_hue, color.adjust_contrast])
def test_computing_on_the_marked_images_alone_is_exact(operation: Any) -> None:
    """The CPU's way of `apply_where_` and that of all other devices agree."""
    images, values = random_images(), torch.linspace(-0.4, 0.4, 8)
    marked = torch.tensor([True, False, True, True, False, False, False, True])
    everywhere = torch.where(base.per_image(marked), operation(images, values), images)
    assert torch.equal(base.apply_where_(marked, images.clone(), operation, values), everywhere)


# Mixing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    shares = symmetric_beta(sampler(20000), alpha).numpy()
    assert ((shares >= 0) & (shares <= 1)).all()
    # Not at the very ends: with a small alpha many shares round to 1, whoever draws them.
    points = np.linspace(0.001, 0.999, 99)
    below = np.searchsorted(np.sort(shares), points) / len(shares)
    assert np.abs(below - stats.beta(alpha, alpha).cdf(points)).max() < 0.012


def test_mixup_shares_images_and_labels_alike() -> None:
    images, targets = random_images(), torch.eye(8)
    draws = Mixup(alpha=1.0).draw(sampler(8))
    mixed, shares = Mixup(alpha=1.0).apply(images, targets, draws)
    torch.testing.assert_close(mixed, torch.einsum("nk,kchw->nchw", shares, images))
    assert shares.diagonal().equal(draws["share"])


def test_cutmix_labels_count_the_pixels() -> None:
    colors = torch.arange(20.0).view(20, 1, 1, 1).expand(-1, 3, 16, 16)
    item = Cutmix(alpha=1.0)
    mixed, shares = item.apply(colors, torch.eye(20), item.draw(sampler(20)))
    counted = torch.stack([(mixed == value).float().mean((1, 2, 3)) for value in range(20)], 1)
    torch.testing.assert_close(shares, counted)
    assert (shares.diagonal() < 1).any()
