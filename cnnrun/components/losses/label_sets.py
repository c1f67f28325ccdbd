"""Losses of any number of labels per image: each label is a question of its own."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.registry import losses

PositiveWeights = Literal["none", "balanced"] | list[Annotated[float, Field(gt=0)]]


@losses.register("bce_logits")
class BinaryCrossEntropyOfLogits(nn.Module):
    """Binary cross-entropy of logits with label sets, mean over the labels.

    `balanced` is the ratio of training images without the label to those with it, so that a rare
    label weighs as much as its absence.

    pos_weight: Weight of images that have a label, relative to those without it.
    """

    compares = ("label_sets",)
    pos_weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        class_counts: Tensor,
        sample_count: int,
        *,
        pos_weight: PositiveWeights = "none",
    ) -> None:
        super().__init__()
        weights = None
        if pos_weight == "balanced":
            there = class_counts.double()
            weights = ((sample_count - there) / there.clamp(min=1)).clamp(min=1e-6).float()
        elif pos_weight != "none":
            if len(pos_weight) != num_classes:
                given = f"{len(pos_weight)} numbers for {num_classes} labels"
                raise UserError(f"pos_weight: {given}")
            weights = torch.tensor(pos_weight)
        self.register_buffer("pos_weight", weights)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and sets or shares of labels (N, K) float32 in 0..1 to losses (N,)."""
        each = F.binary_cross_entropy_with_logits(
            outputs, targets, pos_weight=self.pos_weight, reduction="none"
        )
        return each.mean(1)
