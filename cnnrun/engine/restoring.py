"""A trainer that goes on from a checkpoint, perhaps under settings that changed since."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cnnrun.components.tasks import Task
from cnnrun.config.experiment import Experiment
from cnnrun.engine.build_optimizer import build_lr_schedule
from cnnrun.engine.progress import Progress, is_better, sort_key
from cnnrun.engine.snapshot import take_over
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import UserError
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.weights import some

Row = Mapping[str, Any]


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Let `trainer` continue from `checkpoint`; nothing is written yet.

    Raises:
        ConfigError: the optimizer's state fits no step of the optimizer as it is set now.
    """
    experiment, stepper = trainer.experiment, trainer.stepper
    progress = trainer.progress = Progress(**checkpoint.progress)
    if experiment.training.auto_batch:  # what it has found so far
        stepper.accumulate = max(stepper.accumulate, progress.accumulate)
    if progress.batch == 0:
        progress.skipped = 0  # older versions counted them over all epochs
    done = progress.epoch - (progress.batch == 0)
    # What trained by then has its place in the optimizer.
    trainer.begin_epoch(done)
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
    if trainer.world.is_main:  # what others sum is added to it
        trainer.sums.add(progress.sums)
    trainer.sums.samples = progress.samples
    progress.check_patience(experiment.training.patience)


def learning_rate_note(trainer: Trainer, checkpoint: Checkpoint, before: Experiment) -> list[str]:
    """How the learning rate goes on where the schedule or its length changed.

    before: the experiment that `checkpoint` was written under.
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
    """`best`, where it is the epoch that `newest` knows as the best one; else None.

    It may be of a course that was given up: saved, then trained again with other settings.
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
    """Which of the epochs whose weights are there is the best by what is monitored now.

    Scores of different metrics are never compared: where `training.monitor` or the loss changed,
    or `best` is another epoch than the run knows of, the epochs are ranked anew.

    best: what `best.pt` holds; None where that is no epoch of this run's course.
    before: the experiment that was trained until now. rows: of the log, by epoch.
    Returns: whether the trainer's own state is the best now and `best.pt` not that yet.
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
    # Without a best one there is nothing that patience could have waited for.
    progress.check_patience(now.training.patience if progress.best is not None else None)
    return wins


def monitored(task: Task, experiment: Experiment) -> str:
    """The name of the metric that chooses the best epoch."""
    return task.ranks_by(experiment.training.monitor).name


def sort_key_of_row(
    row: Row | None, task: Task, experiment: Experiment, same_loss: bool = True
) -> list[float] | None:
    """The rank of a logged epoch; None where the log does not tell.

    same_loss: whether its loss is that of now; if not, any later epoch's counts as better.
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
        key.removeprefix("validation_"): math.nan if value is None else value
        for key, value in row.items()
        if key.startswith("validation_")
    }
    try:
        return sort_key(scores, task, monitor)
    except (KeyError, TypeError):
        return None  # it was not measured then, or is no number
