"""Transfer learning: what is taken over from a trained network, and what of it trains on.

The textbook's four cases (Karpathy, CS231n) are presets of the fields of `Transfer`:

    small, similar    keep all features frozen, train a new last layer
    small, different  keep only the early features frozen, train a new last layer on them
    large, similar    start from the weights, train all, the old layers at a tenth of the rate
    large, different  start from the weights, train all at the full rate
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnnrun.models.mlp import Widths
from cnnrun.registry import Options

Case = Literal["small_similar", "small_different", "large_similar", "large_different"]


class Transfer(Options):
    """What is taken over from a trained network."""

    case: Case | None = None
    """One of the textbook's cases, as defaults of the other keys."""
    weights: str | None = None
    """`imagenet` (torchvision/... and timm/... models), a weights file, or a run directory."""
    freeze: str | None = None
    """`none`, `features` (all but the head), `all`, or a pattern of names, e.g. features.0*"""
    cut: str | None = None
    """The last layer that is kept (see `cnnrun describe`); a new head follows it."""
    head: Widths | None = None
    """Hidden layers of a new head; not given, the model keeps its own, untrained one."""
    head_pooling: Literal["flatten", "average"] = "flatten"
    """How the kept layers' feature maps become the new head's input."""
    lr_multipliers: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Patterns of names to factors of the learning rate; the first that matches counts."""
    unfreeze_at: Annotated[int, Field(ge=1)] | None = None
    """Train everything from this epoch on (counted from 1)."""

    def in_words(self) -> str:
        values = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{key}: {value}" for key, value in values.items())
