"""A run's progress, when it is saved, and which of its epochs is the best."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnrun.components.tasks import Task
from cnnrun.components.tasks.training_step import OwnTraining
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


def sort_key(scores: Mapping[str, Any], task: Task, monitor: str) -> list[float]:
    """Larger is better: the monitored metric, then the loss, as small splits often tie.

    scores: of the validation split; {} without one. May be NaN; None is a metric that is undefined
    there (R2 of images with the same value), the least of all, so that the loss decides.
    """
    if not scores:
        return []
    monitored, loss = task.ranks_by(monitor), task.ranks_by("loss")
    metrics = {metric.name: metric for metric in (monitored, loss)}
    undefined = dict.fromkeys(metrics, -sys.float_info.max) | {loss.name: math.nan}
    return [
        undefined[name] if (v := scores[name]) is None else v if metric.higher_is_better else -v
        for name, metric in metrics.items()
    ]


def is_better(rank: list[float], best: list[float] | None) -> bool:
    """Whether an epoch is the best so far; without a validation split, the last one always is.

    The first of equals stays; NaN never wins.
    """
    if not all(map(math.isfinite, rank)):
        return False
    return not rank or best is None or rank > best


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


class NoBest:
    """Warns, once, that the score that would choose the best epoch is NaN."""

    def __init__(self) -> None:
        self.warned = False

    def warn(self, epoch: int, task: Task, monitor: str) -> None:
        if not self.warned and world().is_main:
            self.warned = True
            console.warn(
                f"epoch {epoch}: the validation {task.ranks_by(monitor).display_name} or loss is "
                "not a number; no epoch can be the best until it is (try a smaller "
                "optimizer.lr)"
            )
