"""The plot of likely label errors."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import Field

from cnnrun.plots.drawing.images import draw_suspects
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target, as_floats
from cnnrun.registry import plots


@plots.register("suspects")
def suspects(target: Target, *, count: Annotated[int, Field(ge=1, le=100)] = 20) -> Figure:
    """Images whose labels may be wrong, the likeliest errors first (confident learning).

    Of a cross-validation (`cnnrun crossval`), all training images are judged, each by a network
    that was not trained on it; of a run, its validation and test images.

    count: Number of images.
    """
    found = target.suspects
    rows = found.rows[:count]
    shown = f"{len(rows)} of {len(found.rows):,}" if rows else "No"
    return draw_suspects(
        as_floats(found.images[:count]),
        [PurePath(row["image"]).name for row in rows],
        [row["label"] for row in rows],
        [row["suggested"] for row in rows],
        [row["suggested_probability"] for row in rows],
        f"{shown} possible label errors",
    )
