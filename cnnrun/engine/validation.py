"""A pass over a split without gradients: the means of the task's metrics over its samples."""

from __future__ import annotations

import math

import torch

from cnnrun.data.batches import Batches, LocalSlice
from cnnrun.engine.epoch_sums import EpochSums, Means
from cnnrun.engine.parts import Parts


def evaluation_batches(
    parts: Parts, split: str, batch_size: int | None = None, local_slice: LocalSlice | None = None
) -> Batches:
    """Batches of a split for a pass without gradients; larger for small images."""
    if batch_size is None:
        batch_size = evaluation_batch_size(parts)
    return Batches(parts.dataset.split(split), batch_size, parts.device, local_slice=local_slice)


def evaluation_batch_size(parts: Parts) -> int:
    """The experiment's own batch size, or larger for small images."""
    numbers = math.prod(parts.dataset.train.images.shape[1:])
    return max(parts.experiment.dataset.batch_size, min(1024, 2**22 // numbers))


@torch.no_grad()
def evaluate_sums(parts: Parts, batches: Batches) -> Means:
    """The means of the task's metrics over all samples; {} without samples."""
    if not batches.samples:
        return {}
    parts.model.eval()
    sums = EpochSums(parts)
    for images, labels in batches.iterate():
        if len(labels):  # with many processes, one may get no samples of a small batch
            inputs, targets = parts.pipeline(images, labels, None)
            sums.note(0, *parts.task.step(parts.model, parts.loss, inputs, targets), targets)
            sums.collect()
    sums.samples = batches.samples
    sums.gather()
    return sums.means()
