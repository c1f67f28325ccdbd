"""The numbers that images are normalized by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from cnnrun.data import normalize
from cnnrun.data.normalize import MeanStd, Normalize, measure, resolve
from cnnrun.errors import UserError

GRAY = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)


class Stored:
    """Images that are read by indices, as from a disk; remembers the largest request."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.largest = images, 0

    @property
    def shape(self) -> torch.Size:
        return self.images.shape

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        chunk = self.images[indices]
        self.largest = max(self.largest, chunk.numel())
        return chunk


@given(arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=6)))
@settings(max_examples=50, deadline=None)
def test_auto_is_the_mean_and_deviation_of_each_channel(images: Any) -> None:
    mean, std = resolve("auto", torch.from_numpy(images), channels=images.shape[1])
    values = images.astype(np.float64) / 255
    expected = values.std((0, 2, 3))
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-12)
    # A constant channel has nothing to scale.
    constant = (images == images[:1, :, :1, :1]).all((0, 2, 3))
    np.testing.assert_allclose(std, np.where(constant, 1.0, expected), rtol=1e-9)


@pytest.mark.parametrize("chunk_bytes", [1, 100, 2**24])
def test_auto_reads_in_bounded_chunks_and_is_exact(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "_CHUNK_BYTES", chunk_bytes)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (100, 3, 4, 5), dtype=torch.uint8, generator=generator)
    stored = Stored(images)
    assert measure(stored) == measure(images[torch.randperm(100)])
    assert stored.largest <= max(chunk_bytes, 60)


def test_a_constant_channel_is_only_shifted() -> None:
    assert measure(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)) == ([0.2], [1.0])


def test_fixed_choices() -> None:
    rgb = GRAY.expand(-1, 3, -1, -1)
    assert resolve("half", GRAY, channels=1) == ([0.5], [0.5])
    assert resolve("none", rgb, channels=3) == ([0.0] * 3, [1.0] * 3)
    assert resolve("imagenet", rgb, channels=3) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    mean, std = resolve("imagenet", GRAY, channels=1)
    assert mean == pytest.approx([0.449])
    assert std == pytest.approx([0.226])


def test_numbers_are_taken_as_they_are() -> None:
    config = TypeAdapter(Normalize).validate_python({"mean": [0.1307], "std": [0.3081]})
    assert isinstance(config, MeanStd)
    assert resolve(config, GRAY, channels=1) == ([0.1307], [0.3081])


@pytest.mark.parametrize("key", ["mean", "std"])
def test_as_many_numbers_as_channels(key: str) -> None:
    config = MeanStd(**({"mean": [0.5], "std": [0.5]} | {key: [0.5, 0.5, 0.5]}))
    with pytest.raises(UserError, match=f"{key} has 3 numbers, but the images have 1 channel;"):
        resolve(config, GRAY, channels=1)


def test_no_images_to_measure() -> None:
    with pytest.raises(UserError, match="no training images"):
        resolve("auto", GRAY[:0], channels=1)


@pytest.mark.parametrize(
    "value", ["automatic", {"mean": [0.5]}, {"mean": [0.5], "std": [0.0]}, 0.5]
)
def test_other_values_are_no_normalization(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Normalize).validate_python(value)
