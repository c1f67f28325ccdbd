"""Steps that are taken to look at their loss or their time, before a training."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from cnnrun.engine.epoch_sums import Means
from cnnrun.engine.trainer import Trainer


def measure(trainer: Trainer, batches: Iterable[tuple[Tensor, Tensor]], first: int = 0) -> Means:
    """Train a step on each of these batches, from number `first` of an epoch on; their means.

    A loss that is not finite stays so; what the epoch had measured is forgotten.
    """
    trainer.progress.batch = first
    trainer.sums.restart()
    for images, labels in batches:
        trainer.train_step(images, labels)
    return trainer.sums.means()
