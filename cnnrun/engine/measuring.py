"""Trial steps that measure loss or time, before training."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from cnnrun.engine.epoch_sums import Means
from cnnrun.engine.trainer import Trainer


def measure(trainer: Trainer, batches: Iterable[tuple[Tensor, Tensor]], first: int = 0) -> Means:
    """Train a step on each of these batches, from number `first` of an epoch on; returns the means.

    A non-finite loss is kept; the epoch's sums are reset.
    """
    trainer.progress.batch = first
    trainer.sums.restart()
    for images, labels in batches:
        trainer.train_step(images, labels)
    return trainer.sums.means()
