"""Random images of any number and size, for load tests: a million of them need no memory."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cnnrun.data.dataset import Dataset, Images, Split
from cnnrun.registry import datasets
from cnnrun.runtime.randomness import derive_seed

Bytes = NDArray[np.uint8]
Positive = Annotated[int, Field(ge=1)]

# Up to this size (bytes), a split is made at once and kept; beyond, images are made when indexed.
_IN_MEMORY = 2**28


@datasets.register("fake")
def fake(
    *,
    count: Positive = 1_000,
    test: Positive = 200,
    rgb: bool = True,
    height: Positive = 32,
    width: Positive = 32,
    classes: Annotated[int, Field(ge=2)] = 10,
    learnable: bool = True,
    seed: int = 0,
) -> Dataset:
    """Random images of any number and size, for load tests; nothing is read or downloaded.

    count: Training images; the classes take turns.
    test: Test images; the classes take turns.
    rgb: RGB images, or else gray ones.
    height: Pixels from top to bottom.
    width: Pixels from left to right.
    classes: Number of classes.
    learnable: Give each class a pattern of its own under the noise.
    seed: Random seed of the images, independent of the experiment's.
    """
    channels = 3 if rgb else 1
    shape = (channels, height, width)
    patterns = _patterns(shape, classes, seed) if learnable else None

    def split(name: str, length: int) -> Split:
        made = FakeImages(length, shape, derive_seed(seed, f"fake {name}"), patterns)
        small = length * channels * height * width <= _IN_MEMORY
        images: Images = made[torch.arange(length)] if small else made
        return Split(images, torch.arange(length) % classes)

    names = tuple(f"class {k}" for k in range(classes))
    return Dataset(names, split("train", count), split("test", test))


class FakeImages:
    """Images whose bytes depend only on (seed, index), made when indexed."""

    def __init__(
        self, count: int, shape: tuple[int, int, int], seed: int, patterns: Bytes | None
    ) -> None:
        """patterns: (K, C, H, W) uint8 of 0..127; image i gets number i modulo K."""
        self.shape = torch.Size((count, *shape))
        self._seed = seed
        self._patterns = patterns

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The images at `indices` (M,) int64: (M, C, H, W) uint8, 0..255."""
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for image, index in zip(images, indices.tolist(), strict=True):
            # A counter-based generator can start anywhere; word 2 of its counter is free.
            stream = np.random.Philox(key=self._seed, counter=[0, 0, index, 0])
            words = stream.random_raw(-(-image.size // 8))
            noise = words.view(np.uint8)[: image.size].reshape(image.shape)
            if self._patterns is None:
                image[:] = noise
            else:
                pattern = self._patterns[index % len(self._patterns)]
                np.add(noise >> 1, pattern, out=image)
        return torch.from_numpy(images)


def _patterns(shape: tuple[int, int, int], classes: int, seed: int) -> Bytes:
    """One image of coarse patches for each class: (K, C, H, W) uint8, 0..127."""
    channels, height, width = shape
    random = np.random.default_rng(derive_seed(seed, "fake patterns"))
    patches = random.integers(0, 128, (classes, channels, 4, 4), np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    return np.ascontiguousarray(patches[:, :, rows][..., columns])
