"""A pass over a split without gradients: the means of the task's measures over its samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnrun.data.batches import Batches, Share
from cnnrun.engine.parts import Parts
from cnnrun.runtime.distributed import all_reduce_sum

Means = dict[str, float | None]
"""By metric; None where no sample was measured."""


def means_of(measures: tuple[str, ...], sums: Tensor, samples: int) -> Means:
    """The means over `samples` of (len(measures),) sums."""
    if not samples:
        return dict.fromkeys(measures)
    return dict(zip(measures, (sums / samples).tolist(), strict=True))


def evaluation_batches(
    parts: Parts, split: str, batch_size: int | None = None, share: Share | None = None
) -> Batches:
    """Batches of a split for a pass without gradients, which small pictures want larger."""
    if batch_size is None:
        batch_size = evaluation_batch_size(parts)
    return Batches(parts.dataset.split(split), batch_size, parts.device, share=share)


def evaluation_batch_size(parts: Parts) -> int:
    """The experiment's own, or more where pictures are small."""
    numbers = math.prod(parts.dataset.train.images.shape[1:])
    return max(parts.experiment.dataset.batch_size, min(1024, 2**22 // numbers))


@torch.no_grad()
def evaluate_sums(parts: Parts, batches: Batches) -> Means:
    """The means of the task's measures over all samples, {} where there are none."""
    if not batches.samples:
        return {}
    parts.model.eval()
    sums = zeros(parts)
    for images, labels in batches.iterate():
        if len(labels):  # with many processes, a small batch may leave one without
            inputs, targets = parts.pipeline(images, labels, None)
            losses, outputs = parts.task.step(parts.model, parts.loss, inputs, targets)
            sums += parts.task.sums(losses, outputs, targets)
    return means_of(parts.task.measures, all_reduce_sum(sums), batches.samples)


def zeros(parts: Parts) -> Tensor:
    """Where sums of the task's measures begin: (len(measures),), on the device."""
    # MPS has no float64; elsewhere sums over millions of samples keep their last digits.
    dtype = torch.float32 if parts.device.type == "mps" else torch.float64
    return torch.zeros(len(parts.task.measures), dtype=dtype, device=parts.device)
