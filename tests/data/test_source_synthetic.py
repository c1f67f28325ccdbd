"""The sources that need no file: drawn shapes and fake images."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from cnnrun.data.dataset import Dataset
from cnnrun.data.sources.fake import FakeImages, fake
from cnnrun.data.sources.shapes import shapes
from cnnrun.registry import datasets


def _masks(dataset: Dataset) -> Tensor:
    """How much of each test pixel the shape covers, from the two colours of an image: (N, H, W).

    The ground is the colour of the corner; the shape's is the one farthest from it.
    """
    images = dataset.test.images[torch.arange(len(dataset.test))].float()
    away = (images - images[:, :, :1, :1]).abs().sum(1)
    return away / away.amax((1, 2), keepdim=True)


def _one_kind(dataset: Dataset, name: str) -> Tensor:
    return _masks(dataset)[dataset.test.labels == dataset.classes.index(name)]


def _still(**keys: Any) -> dict[str, Any]:
    """All shapes centred, upright and of one size, 80 % of the image's side."""
    fixed = {"position": 0.0, "scale": [0.8, 0.8], "rotation": 0.0, "classes": 8, "side": 48}
    return {**fixed, "train": 8, "test": 48, **keys}


# Areas in squared radii, by school geometry.
_AREAS = {
    "circle": np.pi,
    "square": 2.0,
    "triangle": 3 * 3**0.5 / 4,
    "star": 10 * np.sin(np.pi / 5) / (2 * 2.618034),
    "cross": 4 * 0.6 * 0.95 - 0.36,
    "ring": np.pi * 0.7,
    "bar": 1.9 * 0.5,
}


@pytest.mark.parametrize("name", _AREAS)
@pytest.mark.parametrize("rotation", [0.0, 180.0])
def test_each_shape_has_the_area_of_its_geometry(name: str, rotation: float) -> None:
    covered = _one_kind(shapes(**_still(rotation=rotation)), name).sum((1, 2))
    expected = _AREAS[name] * (0.4 * 48) ** 2
    assert covered.min() > 0.96 * expected
    assert covered.max() < 1.04 * expected


def test_edges_are_smooth() -> None:
    circle = _one_kind(shapes(**_still(color=False)), "circle")[0]
    assert len(set(circle.flatten().tolist())) > 5


def test_shapes_stand_upright_and_turn_about_their_centre() -> None:
    triangle = _one_kind(shapes(**_still()), "triangle")[0]
    assert triangle[:24].sum() < triangle[24:].sum()  # the point is above
    assert torch.allclose(triangle, triangle.flip(1), atol=0.05)
    turned = _one_kind(shapes(**_still(rotation=90.0)), "bar")
    assert len({tuple(mask.flatten().gt(0.5).tolist()) for mask in turned}) == len(turned)


@given(st.floats(0, 0.3), st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_places_stay_in_the_range_that_was_asked_for(position: float, seed: int) -> None:
    dataset = shapes(
        **_still(position=position, scale=[0.3, 0.3], classes=2, test=60, seed=seed, color=False)
    )
    masks = _one_kind(dataset, "circle")
    along = (torch.arange(48) + 0.5) / 48 - 0.5
    weight = masks.sum((1, 2))
    offsets = torch.stack(
        [(masks.sum(1) * along).sum(1) / weight, (masks.sum(2) * along).sum(1) / weight]
    )
    assert offsets.abs().max() <= position + 0.01
    assert offsets.abs().max() >= 0.6 * position - 0.01


def test_sizes_stay_in_the_range_that_was_asked_for() -> None:
    dataset = shapes(**_still(scale=[0.2, 0.6], classes=2, test=400))
    diameters = 2 * (_one_kind(dataset, "circle").sum((1, 2)) / np.pi).sqrt() / 48
    assert 0.19 < diameters.min() < 0.23
    assert 0.57 < diameters.max() < 0.61


def test_the_test_split_has_ranges_of_its_own() -> None:
    keys = _still(classes=2, train=100, test=100)
    same, other = shapes(**keys), shapes(**{**keys, "test_scale": [0.3, 0.3]})
    assert torch.equal(same.train.images[:], other.train.images[:])  # type: ignore[index]
    ratio = _one_kind(other, "circle").sum() / _one_kind(same, "circle").sum()
    assert float(ratio) == pytest.approx((0.3 / 0.8) ** 2, rel=0.05)


@pytest.mark.parametrize("color", [True, False])
def test_a_shape_differs_from_its_ground_in_luminance(color: bool) -> None:
    dataset = shapes(**_still(classes=2, test=500, color=color))
    images = dataset.test.images[torch.arange(500)].float()
    assert images.shape[1] == (3 if color else 1)
    weights = torch.tensor([0.299, 0.587, 0.114]) if color else torch.ones(1)
    gray = (images * weights.view(-1, 1, 1)).sum(1)
    assert (gray[:, 24, 24] - gray[:, 0, 0]).abs().min() >= 0.3 * 255 - 1


def test_shapes_are_balanced_seeded_and_noisy_as_asked() -> None:
    one, again, other = (shapes(train=600, test=60, seed=s) for s in (1, 1, 2))
    assert one.class_counts.tolist() == [100] * 6
    every = torch.arange(600)
    assert torch.equal(one.train.images[every], again.train.images[every])
    assert not torch.equal(one.train.images[every], other.train.images[every])
    assert not torch.equal(one.train.images[every[:60]], one.test.images[every[:60]])
    quiet, noisy = (shapes(**_still(noise=noise, color=False)) for noise in (0.0, 0.1))
    every = torch.arange(48)
    spread = (noisy.test.images[every].float() - quiet.test.images[every].float())[:, 0, :6, :6]
    assert 0 < spread.std() < 26


def test_scale_is_written_smaller_number_first() -> None:
    with pytest.raises(ValidationError, match=r"smaller number comes first, as in \[0.2, 0.9\]"):
        datasets.get("shapes").schema()(scale=[0.9, 0.2])


@given(st.lists(st.integers(0, 10**6 - 1), min_size=1, max_size=8), st.booleans())
@settings(max_examples=30, deadline=None)
def test_fake_images_depend_on_seed_and_index_only(indices: list[int], learnable: bool) -> None:
    patterns = np.full((4, 3, 9, 7), 100, np.uint8) if learnable else None
    images = FakeImages(10**6, (3, 9, 7), seed=3, patterns=patterns)
    together = images[torch.tensor(indices)]
    alone = torch.cat([images[torch.tensor([index])] for index in indices])
    assert together.shape == (len(indices), 3, 9, 7)
    assert together.dtype == torch.uint8
    assert torch.equal(together, alone)


def test_few_fake_images_are_a_tensor_with_the_pixels_of_many() -> None:
    few, many = (FakeImages(count, (3, 64, 64), seed=5, patterns=None) for count in (10, 10**6))
    assert torch.equal(few[torch.arange(10)], many[torch.arange(10)])
    assert isinstance(fake(count=10).train.images, Tensor)
    assert not torch.equal(fake(seed=0).train.images[:200], fake(seed=1).train.images[:200])  # type: ignore[index]
    assert not torch.equal(fake().train.images[:200], fake().test.images[:200])  # type: ignore[index]


def test_a_million_large_fake_images_need_no_memory() -> None:
    tracemalloc.start()
    dataset = fake(count=10**6, height=224, width=224)
    batch = dataset.train.images[torch.tensor([999_999, 3])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.train.images.shape == (10**6, 3, 224, 224)
    assert batch.shape == (2, 3, 224, 224)
    # 8 bytes a label, and as many while they are made; the images would be 150 GB.
    assert peak < 50e6


def test_a_class_of_learnable_fake_images_has_its_own_mean() -> None:
    dataset = fake(count=500, classes=5)
    images, labels = dataset.train.images[torch.arange(500)].float(), dataset.train.labels
    means = torch.stack([images[labels == k].mean(0) for k in range(5)])
    nearest = torch.cdist(images.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == labels).all()
    plain = fake(count=2_000, learnable=False).train.images[torch.arange(2_000)].float()
    assert plain.mean() == pytest.approx(127.5, abs=0.2)
    assert plain.std() == pytest.approx(73.9, abs=0.2)
