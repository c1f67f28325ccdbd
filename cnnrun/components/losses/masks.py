"""Losses that compare whole masks (`cross_entropy`, `nll` and `focal` compare them by pixel)."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.registry import losses


@losses.register("dice")
class Dice(nn.Module):
    """1 - Dice coefficient of probabilities and masks, mean over classes (Milletari 2016).

    A class of few pixels weighs as much as one of many. `cross_entropy` is the weight of
    cross-entropy in the sum.
    """

    compares = ("masks",)
    whole_masks = True

    def __init__(
        self,
        *,
        smooth: Annotated[float, Field(gt=0)] = 1.0,
        cross_entropy: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        """smooth: Pixels added to each class, so that an absent one is defined.

        cross_entropy: Weight of cross entropy in the loss; Dice alone (0) learns slowly at first.
        """
        super().__init__()
        self.smooth, self.share = smooth, cross_entropy

    def forward(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """To losses (N,).

        outputs: logits (N, K, H, W). targets: (N, H, W) int64. known: (N, H, W) bool, which pixels
        count.
        """
        log_probabilities = F.log_softmax(outputs.float(), dim=1)
        counts = known.unsqueeze(1)
        there = F.one_hot(targets, outputs.shape[1]).movedim(3, 1) * counts
        said = log_probabilities.exp() * counts
        both, either = (said * there).sum((2, 3)), (said + there).sum((2, 3))
        dice = 1 - ((2 * both + self.smooth) / (either + self.smooth)).mean(1)
        if not self.share:
            return dice
        each = F.nll_loss(log_probabilities, targets, reduction="none") * known
        entropy = each.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
        return (1 - self.share) * dice + self.share * entropy
