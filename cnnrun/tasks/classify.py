"""Classification: one label a picture."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cnnrun.registry import tasks


@tasks.register("classify")
class Classify:
    """Tell which of K classes a picture belongs to; measured by accuracy."""

    defaults: ClassVar[dict[str, Any]] = {"loss": "cross_entropy"}
    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    monitor: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[dict[str, bool]] = {"loss": False, "accuracy": True}
    pictures: ClassVar[tuple[str, ...]] = ("samples", "curves", "confusion", "mistakes")

    def step(
        self, model: nn.Module, loss: nn.Module, images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`. Mixed targets (N, K) count as their largest share in the accuracy."""
        outputs = model(images)
        losses = per_sample(loss(outputs, targets), len(images))
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        correct = (outputs.detach().argmax(1) == labels).sum()
        return losses.mean(), torch.stack((losses.detach().sum(), correct.to(losses.dtype)))


def per_sample(losses: Tensor, count: int) -> Tensor:
    """Losses of `count` samples; a user's loss that returns its batch mean stands for each."""
    return losses.expand(count) if losses.dim() == 0 else losses
