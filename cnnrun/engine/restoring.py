"""Restoring a trainer from a checkpoint, perhaps with changed settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cnnrun.components.tasks import Task
from cnnrun.config.experiment import Experiment
from cnnrun.engine.build_optimizer import build_lr_schedule
from cnnrun.engine.progress import Progress
from cnnrun.engine.ranking import is_better, sort_key
from cnnrun.engine.snapshot import take_over
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import UserError
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.weights import some

Row = Mapping[str, Any]


def restore(trainer: Trainer, checkpoint: Checkpoint) -> list[str]:
    """Restore `trainer` from `checkpoint`; nothing is written yet. Returns notes for the user.

    Raises:
        ConfigError: the optimizer's state does not fit its current settings.
    """
    experiment, stepper = trainer.experiment, trainer.stepper
    progress = trainer.progress = Progress(**checkpoint.progress)
    if experiment.training.auto_batch:  # its findings so far
        stepper.accumulate = max(stepper.accumulate, progress.accumulate)
    if progress.batch == 0:
        progress.skipped = 0  # older versions counted them over all epochs
    done = progress.epoch - (progress.batch == 0)
    # What trained at that point is already in the optimizer.
    trainer.start_epoch(done)
    trainer.set_training_mode(done)
    try:
        take_over(checkpoint, trainer.full, stepper, trainer.schedule)
    except UserError as error:
        now, held = experiment.to_dict()["optimizer"], checkpoint.config["optimizer"]
        changed = [key for key, value in now.items() if value != held.get(key)]
        if not changed:
            raise
        message = f"a run can't be resumed with another {some(changed)} ({error}); start a new run"
        raise experiment.error(["optimizer", changed[0]], message) from error
    if trainer.world.is_main:  # the other processes' sums are added to it
        trainer.sums.add(progress.sums)
    trainer.sums.samples = progress.samples
    progress.check_patience(experiment.training.patience)
    note = stepper.average.resume(progress.epoch) if stepper.average else ""
    return [note] if note else []


def learning_rate_note(trainer: Trainer, checkpoint: Checkpoint, before: Experiment) -> list[str]:
    """A note on the learning rate if the schedule or its length changed.

    before: the experiment at the time of `checkpoint`.
    """
    now, step, per_epoch = trainer.experiment, trainer.progress.step, len(trainer.train_batches)
    schedule = build_lr_schedule(before, per_epoch)
    schedule.load_state_dict(checkpoint.schedule)
    old = getattr(before.optimizer, "lr", 1.0) * schedule.factor(step)
    new = getattr(now.optimizer, "lr", 1.0) * trainer.schedule.factor(step)
    if old == new:
        return []
    return [
        f"the {now.schedule.name} schedule is that of {now.training.epochs} epochs from here "
        f"on: the learning rate continues at {new:g} instead of {old:g}"
    ]


def best_of_course(
    best: Checkpoint | None, newest: Checkpoint, rows: Mapping[int, Row], task: Task
) -> Checkpoint | None:
    """`best`, if it is the epoch that `newest` knows as the best; else None.

    It may be from an abandoned course: saved, then trained again with other settings.
    """
    if best is None or best is newest:
        return best
    epoch = newest.progress["best_epoch"]
    if best.progress["epoch"] != epoch or best.progress["best_epoch"] != epoch:
        return None
    logged = _rank(rows.get(epoch), task, best.config["training"].get("monitor", "auto"))
    known = best.progress["best"]
    if logged is None or not known:
        return best
    same = all(a == b or not math.isfinite(a) for a, b in zip(known, logged, strict=False))
    return best if same else None


def settle_best(
    trainer: Trainer, best: Checkpoint | None, before: Experiment, rows: Mapping[int, Row]
) -> bool:
    """Which of the epochs with saved weights is the best by the current monitor.

    Scores of different metrics are never compared: if `training.monitor` or the loss changed, or
    `best` is an epoch unknown to the run, the epochs are ranked again.

    best: the content of `best.pt`; None if it is not an epoch of this run's course. before: the
    experiment trained so far. rows: of the log, by epoch.
    Returns: whether the trainer's own state is now the best and not yet in `best.pt`.
    """
    progress, task, now = trainer.progress, trainer.task, trainer.experiment
    same_loss = before.to_dict()["loss"] == now.to_dict()["loss"]
    same_monitor = monitored(task, before) == monitored(task, now)
    if (best or not progress.best_epoch) and same_loss and same_monitor:
        return False
    saved = progress.best_epoch if best else 0
    progress.best, progress.best_epoch = None, saved
    if saved:
        progress.best = sort_key_of_row(rows.get(saved), task, now, same_loss)
    wins = False
    if progress.batch == 0 and progress.epoch > saved:
        rank = sort_key_of_row(rows.get(progress.epoch), task, now, same_loss)
        if rank is not None and is_better([v for v in rank if v != -math.inf], None):
            wins = progress.best is None or rank > progress.best
        if wins:
            progress.best, progress.best_epoch = rank, progress.epoch
    # Without a best epoch, patience has not started.
    progress.check_patience(now.training.patience if progress.best is not None else None)
    return wins


def monitored(task: Task, experiment: Experiment) -> str:
    """The name of the metric that chooses the best epoch."""
    return task.ranks_by(experiment.training.monitor).name


def sort_key_of_row(
    row: Row | None, task: Task, experiment: Experiment, same_loss: bool = True
) -> list[float] | None:
    """The rank of a logged epoch; None if the log lacks it.

    same_loss: whether its loss is the current one; if not, any later epoch counts as better.
    """
    rank = _rank(row, task, experiment.training.monitor)
    if not rank or same_loss:
        return rank
    of_the_loss = task.ranks_by(experiment.training.monitor).of_the_loss
    return None if of_the_loss else [rank[0], -math.inf]


def _rank(row: Row | None, task: Task, monitor: str) -> list[float] | None:
    if row is None:
        return None
    scores = {
        key.removeprefix("validation_"): value
        for key, value in row.items()
        if key.startswith("validation_")
    }
    try:
        return sort_key(scores, task, monitor)
    except (KeyError, TypeError):
        return None  # it was not measured then, or is NaN
