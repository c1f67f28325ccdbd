"""Plots of the data: samples, augmentations, pixels."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from cnnrun.errors import UserError
from cnnrun.plots.drawing.images import ROOM, draw_augmentations, draw_pixels, draw_samples
from cnnrun.plots.drawing.lettering import in_lines
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots
from cnnrun.runtime.randomness import derive_seed, generator

SplitName = Literal["train", "validation", "test"]
Count = Annotated[int, Field(ge=1, le=400)]
Index = Annotated[int, Field(ge=0)]


@plots.register("samples")
def samples(target: Target, *, split: SplitName = "train", count: Count = 24) -> Figure:
    """Random images of a split, with their class names.

    split: Split that the images are from.
    count: Number of images.
    """
    data = target.split(split)
    seed = derive_seed(target.parts.experiment.seed, "samples")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    chosen = data.take(order[:count])
    titles = chosen.targets.captions(target.classes)
    if chosen.targets.kind != "labels":  # several words an image, none of which is to be lost
        titles = [in_lines(title.split(", "), ROOM) for title in titles]
    return draw_samples(
        as_floats(chosen.images[torch.arange(len(chosen))]),
        titles,
        f"{len(titles)} of {len(data):,} {split} images ({target.parts.experiment.dataset.name})",
    )


@plots.register("augmentations")
def augmentations(
    target: Target, *, split: SplitName = "train", index: Index = 0, count: Count = 15
) -> Figure:
    """One image as training sees it: many random augmentations, with their parameters.

    split: Split that the image is from.
    index: Which image of the split, from 0 on.
    count: Number of draws.
    """
    parts = target.parts
    if not parts.experiment.dataset.augment:
        raise UserError(
            "dataset.augment: this experiment has no augmentation; add one, such as [rotation]"
        )
    image = _image(target, split, index)
    many = image.expand(count, -1, -1, -1).contiguous().to(parts.device)
    random = generator(parts.experiment.seed, "viz", index, device=parts.device)
    drawn, draws = parts.pipeline.augment_with_draws(many, random)
    return draw_augmentations(
        as_floats(image)[0],
        drawn.clamp(0, 1).cpu().numpy(),
        parts.pipeline.captions(draws),
        f"{count} augmentations of {split} image {index}",
    )


@plots.register("pixels")
def pixels(target: Target, *, split: SplitName = "train", index: Index = 0) -> Figure:
    """One image as numbers: the gray value, 0..255, of each pixel in its cell.

    split: Split that the image is from.
    index: Which image of the split, from 0 on.
    """
    image = _image(target, split, index)[0].float().mean(0).round().to(torch.uint8)
    [caption] = target.split(split).targets.take(torch.tensor([index])).captions(target.classes)
    return draw_pixels(image.numpy(), f"{split} image {index}: {caption}")


def _image(target: Target, split: str, index: int) -> torch.Tensor:
    """(1, C, H, W) uint8."""
    data = target.split(split)
    if index >= len(data):
        raise UserError(f"index {index}: the {split} split has images 0 to {len(data) - 1}")
    return data.images[torch.tensor([index])]
