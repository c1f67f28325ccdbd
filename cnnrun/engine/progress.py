"""A run's progress, and when it is saved."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from cnnrun.components.tasks import Task
from cnnrun.components.tasks.training_step import OwnTraining
from cnnrun.engine.ranking import is_better
from cnnrun.errors import UserError
from cnnrun.runtime import console
from cnnrun.runtime.distributed import broadcast_from_main, mean_over_processes, world

# Processes agree on stopping and saving this often: communicating takes a tenth of a millisecond.
AGREE_EVERY = 8


@dataclass
class Progress:
    """A run's progress: plain values, kept in checkpoints."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs finished
    batch: int = 0  # batches done of the current epoch
    sums: list[float] = field(default_factory=list)  # of the current epoch, see `EpochSums`
    samples: int = 0  # the number of samples in them
    best: list[float] | None = None  # the best epoch's rank, see `sort_key`
    best_epoch: int = 0
    stopped_early: bool = False
    why_stopped: str = ""  # why the task ended training, see `Task.why_stop`
    skipped: int = 0  # skipped steps of the current epoch, whose loss was NaN
    averaged: int = 0  # epochs whose weights are averaged, see `training.swa`
    accumulate: int = 1  # pieces of a batch, see `training.auto_batch`

    def finish_epoch(self, rank: list[float], patience: int | None) -> bool:
        """Count an epoch; returns whether it is the best so far. rank: see `sort_key`."""
        self.epoch += 1
        self.batch = self.samples = 0
        is_best = is_better(rank, self.best)
        if is_best:
            self.best_epoch, self.best = self.epoch, rank
        self.check_patience(patience)
        return is_best

    def check_patience(self, patience: int | None) -> None:
        """Whether this many epochs have brought no improvement."""
        waited = self.epoch - self.best_epoch
        patient = patience is None or waited < patience
        self.stopped_early = bool(self.why_stopped) or not patient


class SaveTimer:
    """Decides when `training.checkpoint_every` has passed since the last checkpoint."""

    def __init__(self, every: str | None, processes: int) -> None:
        count, _, self.unit = (every or "").partition(" ")
        self.count = int(count or 0)
        self.slack = 1 if processes == 1 else AGREE_EVERY
        self.saved()

    def saved(self) -> None:
        self.last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after `step` steps."""
        if self.unit == "steps":
            return step % self.count < self.slack
        return bool(self.count) and time.monotonic() - self.last >= self.count


def ask_task(task: Task, row: dict[str, Any], progress: Progress) -> None:
    """Add the task's own numbers to an epoch's row, and ask the task whether to stop.

    Raises:
        UserError: one of its numbers has a name that the row already has.
    """
    figures = mean_over_processes(task.epoch_figures())
    if taken := figures.keys() & row.keys():
        raise UserError(f"epoch_figures gives {', '.join(taken)}, which the log has already")
    row |= figures
    if type(task).why_stop is OwnTraining.why_stop:
        return
    why = broadcast_from_main(task.why_stop(row))
    if why and not progress.why_stopped:
        progress.why_stopped = why
        if world().is_main:
            console.note(f"training ends after epoch {row['epoch']}: {why}")
