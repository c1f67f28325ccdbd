"""Random rectangles, one for each image: to crop, to cover, or to paste."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnrun.data.augmentations.base import Draws, per_image
from cnnrun.data.augmentations.sampling import Sampler


def draw_rectangles(
    sampler: Sampler, scale: tuple[float, float], ratio: tuple[float, float]
) -> Draws:
    """`left`, `top`, `width`, `height`, each (N,) float32 in whole pixels, inside the image.

    scale: fraction of the image's area, uniform. ratio: width / height, log-uniform. A rectangle
    that would not fit is clipped to the image, where torchvision draws again.
    """
    area = sampler.uniform(*scale) * (sampler.height * sampler.width)
    shape = sampler.uniform(math.log(ratio[0]), math.log(ratio[1])).exp()
    wide = (area * shape).sqrt().round().clamp(0, sampler.width)
    high = (area / shape).sqrt().round().clamp(0, sampler.height)
    return {
        "left": (sampler.uniform(0, 1) * (sampler.width - wide + 1)).floor(),
        "top": (sampler.uniform(0, 1) * (sampler.height - high + 1)).floor(),
        "width": wide,
        "height": high,
    }


def pixels_inside(draws: Draws, height: int, width: int) -> Tensor:
    """Which pixels lie in each image's rectangle: (N, 1, height, width) bool.

    draws: as from `draw_rectangles`, but parts may be outside.
    """
    left, top = per_image(draws["left"]), per_image(draws["top"])
    x = torch.arange(width, device=left.device)
    y = torch.arange(height, device=left.device).unsqueeze(1)
    in_columns = (x >= left) & (x < left + per_image(draws["width"]))
    in_rows = (y >= top) & (y < top + per_image(draws["height"]))
    return in_columns & in_rows
