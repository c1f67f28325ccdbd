"""Copies are found, changed or not, and images that only look alike are not taken for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from cnnrun.data.inspection import duplicates
from cnnrun.data.inspection.duplicates import exact_groups, fingerprint, near_copies
from tests.conftest import quick_ones
from tests.photo_like import brighter, jpeg, photos


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_exact_groups_equal_a_search_by_hand(numbers: list[int]) -> None:
    kinds = photos(6, size=8)
    kinds[5] = 7  # blank: never a copy
    prints = fingerprint(kinds[torch.tensor(numbers)])
    expected = [[i for i, n in enumerate(numbers) if n == k] for k in range(5)]
    groups = [group.tolist() for group in exact_groups(prints)]
    assert groups == sorted(group for group in expected if len(group) > 1)


COPIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "brighter": brighter,
    "darker": lambda x: (x.float() * 0.8).to(torch.uint8),
    "JPEG 30": lambda x: torch.stack([jpeg(image, 30) for image in x]),
    "moved by 1 pixel": lambda x: torch.roll(x, 1, dims=3),
    "noise": lambda x: (
        (x.float() + 8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
        .clamp(0, 255)
        .to(torch.uint8)
    ),
}


def real_crops() -> torch.Tensor:
    """Parts of two photographs, 64x64 each, side by side; those of plain sky are left out."""
    images = [torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images]
    parts = [p.unfold(1, 64, 64).unfold(2, 64, 64).flatten(1, 2) for p in images]
    crops = torch.cat([part.transpose(0, 1) for part in parts]).contiguous()
    return crops[crops.float().mean(1).std((1, 2)) > 15]


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize(
    "source", quick_ones(["spectrum of photographs", "photographs"], "photographs")
)
def test_changed_copies_are_found_among_strangers(kind: str, source: str) -> None:
    base = photos(400) if source != "photographs" else real_crops()
    images = torch.cat([base, COPIES[kind](base[-40:])])
    pairs = near_copies(fingerprint(images)).pairs
    right = pairs[:, 1] - pairs[:, 0] == 40
    assert right.sum() >= 38
    assert (~right).sum() == 0


def test_strangers_that_look_alike_are_no_copies() -> None:
    """Tilted bars, like handwritten ones: each is much like many others."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:28, :28] - 13.5
    bars = []
    for slope, width in random.uniform((-0.5, 1.5), (0.5, 3), size=(600, 2)):
        inside = (np.abs(columns - slope * rows) < width) & (np.abs(rows) < 10)
        bars.append(255 * inside)
    images = torch.from_numpy(np.array(bars, np.uint8))[:, None]
    found = near_copies(fingerprint(images))
    assert found.comparisons > 0
    assert len(found.pairs) < 0.02 * len(images)


@pytest.mark.parametrize("spread", [0, 1, 2])
def test_flat_images_are_not_copies_of_one_another(spread: int) -> None:
    noise = torch.randint(
        0, spread + 1, (50, 1, 32, 32), generator=torch.Generator().manual_seed(1)
    )
    images = (100 + noise).to(torch.uint8)
    assert len(near_copies(fingerprint(images)).pairs) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images(count: int) -> None:
    base = photos(count)
    images = torch.cat([base, brighter(base[:1])])
    assert near_copies(fingerprint(images)).pairs.tolist() == [[0, count]]


def test_the_work_grows_with_the_number_of_images_not_its_square() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 8000).astype(np.uint64)
    few, many = (duplicates._candidates(hashes[:n])[1] for n in (2000, 8000))
    assert many < 4.1 * few
    assert many < 0.1 * 8000 * 7999 / 2
    same = duplicates._candidates(np.zeros(8000, np.uint64))
    assert same[1] == many
    assert len(same[0]) <= many
