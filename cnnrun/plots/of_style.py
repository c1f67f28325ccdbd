"""The plot of a style transfer: what went in, how it went, what came out."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from cnnrun.data.images.one_image import read_image, resized, scaled_size
from cnnrun.errors import UserError
from cnnrun.plots.drawing.images import draw_large
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots


@plots.register("style")
def style(target: Target, *, progress: Annotated[int, Field(ge=0, le=12)] = 4) -> Figure:
    """Content, styles, intermediate images and result of a style transfer.

    progress: Number of intermediate images.
    """
    parts = target.parts
    if parts.experiment.task.name != "stylize":
        raise UserError(f"{target.path}: this plot needs a run of style transfer")
    content = as_floats(parts.dataset.train.images[torch.arange(1)])
    size = content.shape[2:]
    shown = [("content", content[0])]
    for one in parts.experiment.loss.styles:  # type: ignore[attr-defined]
        shown.append((f"style: {one.file}", _within(read_image(one.file), size)))
    files = sorted((target.run.plots / "progress").glob("epoch_*.png"))
    steps = np.linspace(0, len(files) - 1, min(progress + 1, len(files))).round().astype(int)
    for k in dict.fromkeys(steps[:-1].tolist()):
        image = resized(read_image(str(files[k])), *size)
        shown.append((f"after epoch {int(files[k].stem[6:])}", image.numpy()))
    with torch.no_grad():
        result = parts.model.eval()(parts.model.content).cpu()
    shown.append(("result", resized(result, *size)[0].numpy()))
    titles, images = zip(*shown, strict=True)
    return draw_large(np.stack(images), titles, f"Style transfer ({parts.experiment.name})")


def _within(image: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.float32]:
    """All of `image` (C, H, W), as large as it can be, on gray of `size` (height, width)."""
    scale = min(size[0] / image.shape[1], size[1] / image.shape[2])
    small = resized(image, *scaled_size(image.shape[1:], scale))
    height, width = (min(a, b) for a, b in zip(small.shape[1:], size, strict=True))
    canvas = torch.full((3, *size), 0.85)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[:, top : top + height, left : left + width] = small[:, :height, :width]
    return canvas.numpy()
