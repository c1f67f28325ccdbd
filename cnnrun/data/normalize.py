"""Mean and standard deviation for normalizing images."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field

from cnnrun.data.dataset import Images, chosen, origin
from cnnrun.data.images.check import sample
from cnnrun.data.images.files import ImageFiles
from cnnrun.data.images.scan import cache_key
from cnnrun.errors import UserError
from cnnrun.registry import Options
from cnnrun.runtime.files import write_json
from cnnrun.runtime.reading import read_json

# Of ImageNet's training images, as all pretrained weights of torchvision expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CHUNK_BYTES = 2**24

MEASURED = 5_000
"""Of more image files than these, what was measured is remembered, or so many are measured."""

Moments = tuple[list[float], list[float]]
"""Mean and standard deviation of each channel, in units of 0..1."""
Progress = Callable[[str, int, int], None]


class MeanStd(Options):
    """Numbers for each channel, in units of 0..1."""

    mean: list[float]
    """What is subtracted from pixels in 0..1, for each channel."""
    std: list[Annotated[float, Field(gt=0)]]
    """What pixels are divided by then, for each channel."""


Normalize = Literal["auto", "imagenet", "half", "none"] | MeanStd


def resolve(
    config: Normalize, images: Images, *, channels: int, progress: Progress | None = None
) -> Moments:
    """Mean and standard deviation of each channel, in units of 0..1.

    config: `auto` measures the images (5,000 of them where not all files are decoded before);
        `imagenet` has ImageNet's numbers; `half` maps to -1..1; `none` leaves 0..1; or the numbers
        themselves.
    images: the training images, (N, C, H, W) uint8.

    Raises:
        UserError: there are not as many numbers as channels, or no images to measure.
    """
    if isinstance(config, MeanStd):
        return _checked(config.mean, "mean", channels), _checked(config.std, "std", channels)
    if config == "auto":
        return _of_files(images, progress) or measure(images, progress)
    if config == "imagenet":
        return _for_channels(IMAGENET_MEAN, channels), _for_channels(IMAGENET_STD, channels)
    mean, std = (0.5, 0.5) if config == "half" else (0.0, 1.0)
    return [mean] * channels, [std] * channels


def without_images(config: Normalize, channels: int) -> Moments:
    """As `resolve`, of what measures nothing: any but `auto`.

    Raises:
        UserError: there are not as many numbers as channels.
    """
    return resolve(config, torch.empty(0, channels, 1, 1, dtype=torch.uint8), channels=channels)


def _of_files(images: Images, progress: Progress | None) -> Moments | None:
    """Those of image files that are decoded when used: remembered, or of some; None of others."""
    source, numbers = origin(images, torch.arange(images.shape[0]))
    if not isinstance(source, ImageFiles) or len(numbers) <= MEASURED:
        return None
    if source.memory is None:
        some = torch.tensor(sample(len(numbers), MEASURED))
        return measure(chosen(source, numbers[some]), progress)
    which = hashlib.sha256(numbers.numpy().data).hexdigest()[:16]
    memory = source.memory / f"measured-{cache_key(source.files, source.form)}-{which}.json"
    try:
        held = read_json(memory)
        return [float(v) for v in held["mean"]], [float(v) for v in held["std"]]
    except (UserError, ValueError, KeyError, TypeError):
        found = measure(images, progress)
        # Where nothing can be written, the next run measures again.
        with contextlib.suppress(UserError):
            write_json(memory, {"mean": found[0], "std": found[1]})
        return found


def measure(images: Images, progress: Progress | None = None) -> Moments:
    """The exact mean and standard deviation of each channel of (N, C, H, W) uint8, over 255.

    All sums are integers, from a histogram of each channel, so neither order nor number of images
    costs a digit. A channel that is constant has nothing to scale: its deviation is given as 1.

    Raises:
        UserError: there are no images.
    """
    count, channels, height, width = images.shape
    if count == 0:
        raise UserError("there are no training images to take the mean of")
    histograms = torch.zeros(channels, 256, dtype=torch.int64)
    step = max(1, _CHUNK_BYTES // (channels * height * width))
    for start in range(0, count, step):
        if progress:
            progress("measuring images", start, count)
        chunk = images[torch.arange(start, min(start + step, count))]
        for channel in range(channels):
            values = chunk[:, channel].flatten()
            histograms[channel] += torch.bincount(values, minlength=256).cpu()
    if progress:
        progress("measuring images", count, count)
    moments = [_moments(histogram) for histogram in histograms.tolist()]
    return [mean for mean, _ in moments], [std for _, std in moments]


def _moments(histogram: list[int]) -> tuple[float, float]:
    """Mean and standard deviation over 255, from Python's unbounded integers."""
    count = sum(histogram)
    total = sum(value * times for value, times in enumerate(histogram))
    squares = sum(value * value * times for value, times in enumerate(histogram))
    variance = count * squares - total * total  # times count squared
    std = math.sqrt(variance) / count / 255 if variance else 1.0
    return total / count / 255, std


def _for_channels(numbers: tuple[float, float, float], channels: int) -> list[float]:
    """Gray images take the average of red, green and blue; further channels start again at red."""
    return [sum(numbers) / 3] if channels == 1 else [numbers[k % 3] for k in range(channels)]


def _checked(numbers: list[float], key: str, channels: int) -> list[float]:
    if len(numbers) != channels:
        raise UserError(
            f"{key} has {len(numbers)} numbers, but the images have {channels} "
            f"channel{'' if channels == 1 else 's'}; write one for each"
        )
    return list(numbers)
