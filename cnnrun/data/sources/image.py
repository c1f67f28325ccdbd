"""One image, as the content of style transfer."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.images.decoding import ImageOptions, decode
from cnnrun.data.images.one_image import image_path, resized, scaled_size
from cnnrun.registry import datasets
from cnnrun.runtime.memory import free_bytes

Positive = Annotated[int, Field(ge=1)]

# Bytes per pixel for VGG-19 up to its fifth block and a step of L-BFGS, measured on a CPU.
BYTES_PER_PIXEL = 4_000
# Fraction of the free memory that an image may take.
_SHARE = 0.7


@datasets.register("image")
def image(
    options: ImageOptions,
    *,
    file: str = "sample:china.jpg",
    longest: Annotated[int, Field(ge=16)] = 512,
    steps: Positive = 50,
) -> Dataset:
    """One image file, e.g. the content of style transfer; its proportions are kept.

    file: A path, or `sample:china.jpg` or `sample:flower.jpg` (from scikit-learn).
    longest: Pixels of the longer side; a larger image is averaged down, and further if memory is
        short.
    steps: Steps per epoch, all on this image.
    """
    pixels = decode(image_path(file), 3).float().div_(255)
    whole = tuple(pixels.shape[1:])
    size = scaled_size(whole, min(1.0, longest / max(whole)))
    free = free_bytes()
    if size[0] * size[1] * BYTES_PER_PIXEL > _SHARE * free:
        wanted = size
        size = scaled_size(size, (_SHARE * free / BYTES_PER_PIXEL / (size[0] * size[1])) ** 0.5)
        options.notes.append(
            f"{_by(wanted)} pixels would take about {_gigabytes(wanted)}, and "
            f"{free / 1e9:.1f} GB are free: taken at {_by(size)} ({_gigabytes(size)}); "
            "dataset.longest sets the size"
        )
    elif size != whole:
        options.notes.append(
            f"{file}: {_by(whole)} pixels taken at {_by(size)}, about {_gigabytes(size)} of "
            "memory; dataset.longest sets the size"
        )
    content = resized(pixels, *size).mul(255).round().byte()
    # The class's name as it has been in checkpoints since the first version. The images are views
    # of one: they take no memory.
    images = content.expand(steps, -1, -1, -1)
    labels = torch.zeros(steps, dtype=torch.int64)
    nothing = Split(images[:0], labels[:0])
    return Dataset(("picture",), Split(images, labels), nothing)


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


def _gigabytes(size: tuple[int, ...]) -> str:
    return f"{size[0] * size[1] * BYTES_PER_PIXEL / 1e9:.2g} GB"
