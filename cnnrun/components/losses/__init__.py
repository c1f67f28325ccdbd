"""Losses: one file per family. A loss returns one number per sample; means are over samples."""

from cnnrun.components.losses import (
    classification,
    from_torch,
    label_sets,
    masks,
    neural_style,
    pixels,
)

__all__ = ["classification", "from_torch", "label_sets", "masks", "neural_style", "pixels"]
