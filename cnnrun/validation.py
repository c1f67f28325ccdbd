"""A pass over a split without gradients: the means of the task's measures over its samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnrun.build import Parts
from cnnrun.data.batches import Batches


def means_of(measures: tuple[str, ...], sums: Tensor, samples: int) -> dict[str, float]:
    return dict(zip(measures, (sums / max(samples, 1)).tolist(), strict=True))


def evaluation_batches(parts: Parts, split: str, batch_size: int | None = None) -> Batches:
    """Batches of a split for a pass without gradients, which small pictures want larger."""
    if batch_size is None:
        batch_size = evaluation_batch_size(parts)
    return Batches(parts.dataset.split(split), batch_size, parts.device)


def evaluation_batch_size(parts: Parts) -> int:
    """The experiment's own, or more where pictures are small."""
    numbers = math.prod(parts.dataset.train.images.shape[1:])
    return max(parts.experiment.dataset.batch_size, min(1024, 2**22 // numbers))


@torch.no_grad()
def evaluate_sums(parts: Parts, batches: Batches) -> dict[str, float]:
    """The means of the task's measures over all samples, {} where there are none."""
    if not batches.samples:
        return {}
    parts.model.eval()
    sums: Tensor | float = 0.0
    for images, labels in batches.iterate():
        inputs, targets = parts.pipeline(images, labels, None)
        _, batch_sums = parts.task.step(parts.model, parts.loss, inputs, targets)
        sums = sums + batch_sums.to(torch.float32 if parts.device.type == "mps" else torch.float64)
    assert isinstance(sums, Tensor)
    return means_of(parts.task.measures, sums, batches.samples)
