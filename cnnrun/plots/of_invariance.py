"""The plot of one model's invariance."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cnnrun.evaluation.invariance import invariance as measured
from cnnrun.plots.drawing.invariance import draw_invariance
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target
from cnnrun.registry import plots


@plots.register("invariance")
def invariance(target: Target, *, count: Annotated[int, Field(ge=1)] = 1000) -> Figure:
    """Accuracy on test images as they are rotated, scaled and shifted more and more.

    count: Number of test images.
    """
    target.logits()  # refuses untrained networks, and other than classifiers
    curves = measured(target.parts, count)
    title = "Test accuracy under rotation, scaling and shifts"
    return draw_invariance({target.parts.experiment.name: [curves]}, title)
