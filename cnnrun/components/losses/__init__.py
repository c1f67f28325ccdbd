"""Losses: one file a family. A loss gives one number a sample, so that means are over samples."""

from cnnrun.components.losses import (
    classification,
    from_torch,
    label_sets,
    masks,
    neural_style,
    pixels,
)

__all__ = ["classification", "from_torch", "label_sets", "masks", "neural_style", "pixels"]
