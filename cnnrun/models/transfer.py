"""Transfer learning: what is taken from a pretrained network, and what of it trains.

The textbook's four cases (Karpathy, CS231n) are presets of the fields of `Transfer`:

    small, similar    keep all features frozen, train a new last layer
    small, different  keep only the early features frozen, train a new last layer on them
    large, similar start from the weights, train all, the old layers at a tenth of the rate
    large, different  start from the weights, train all at the full rate
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnnrun.models.mlp import Widths
from cnnrun.registry import Options

Case = Literal["small_similar", "small_different", "large_similar", "large_different"]


class Transfer(Options):
    """What is taken from a pretrained network."""

    case: Case | None = None
    """A preset of the other keys, by the size of your data and how similar they are to the
    pretrained network's.
    """
    weights: str | None = None
    """Pretrained weights: `imagenet` (torchvision/... and timm/... models), a weights file, or a
    run directory.
    """
    rename: dict[str, str | None] = {}
    """Names in the weights file to names in the model, of layers or tensors; null leaves one out.
    """
    freeze: str | None = None
    """What is not trained: `none`, `features` (the backbone, all but the head), `all`, or a pattern
    of names, e.g. features.0*
    """
    cut: str | None = None
    """Last layer that is kept (see `cnnrun describe`); a new head follows it."""
    head: Widths | None = None
    """Units of the hidden layers of a new head; by default the model keeps its own, untrained."""
    head_pooling: Literal["flatten", "average"] = "flatten"
    """How the kept layers' feature maps become the new head's input."""
    lr_multipliers: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Patterns of names to factors of the learning rate; the first that matches counts."""
    unfreeze_at: Annotated[int, Field(ge=1)] | None = None
    """First epoch, counted from 1, that trains everything."""

    def to_text(self) -> str:
        values = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{key}: {value}" for key, value in values.items())
