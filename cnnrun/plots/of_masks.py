"""Plots of masks (`task: segment`)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from cnnrun.errors import UserError
from cnnrun.plots.drawing.overlays import draw_overlays
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots
from cnnrun.runtime.randomness import derive_seed


@plots.register("overlays")
def overlays(target: Target, *, count: Annotated[int, Field(ge=1, le=24)] = 8) -> Figure:
    """Test images overlaid with the true and the predicted class of each pixel.

    count: Number of test images.
    """
    parts = target.parts
    if parts.task.targets != "masks":
        raise UserError("this plot needs a network that predicts masks (task: segment)")
    ious = target.predictions().answers  # refuses what is not trained
    data = target.split("test")
    order = np.random.default_rng(derive_seed(parts.experiment.seed, "viz")).permutation(len(data))
    chosen = data.take(torch.from_numpy(order[:count]))
    images = chosen.images[torch.arange(len(chosen))]
    with torch.no_grad():
        inputs = parts.pipeline.normalize(images.to(parts.device))
        said = parts.task.answers_alone(parts.model.eval(), inputs)["masks"].cpu().numpy()
    counts = ious["counts"][order[:count]].reshape(len(chosen), 3, -1)
    right = counts[:, 0].sum(1) / np.maximum(counts[:, 2].sum(1), 1)
    return draw_overlays(
        as_floats(images),
        chosen.targets.held.numpy(),
        said,
        list(target.classes),
        [f"{100 * share:.1f} %" for share in right],
        f"{len(chosen)} of {len(data):,} test images and their pixel accuracy",
    )
