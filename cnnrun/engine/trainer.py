"""The training loop: clear gradients, forward, loss, backward, step, running loss over samples.

All randomness comes from (seed, purpose, step), and `Progress` holds every number that is carried
from one step to the next; so a run resumed after any step ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from cnnrun.components.schedules import Schedule
from cnnrun.config.own_code import code_of
from cnnrun.engine.bad_batch import BadBatch
from cnnrun.engine.build_optimizer import build_lr_schedule
from cnnrun.engine.compiling import convert_norms
from cnnrun.engine.epoch_sums import EpochSums, Means
from cnnrun.engine.frozen_features import on_frozen_features
from cnnrun.engine.pace import Pace
from cnnrun.engine.parts import Parts
from cnnrun.engine.progress import AGREE_EVERY, Progress, SaveTimer, ask_task
from cnnrun.engine.progressive_resizing import progressive
from cnnrun.engine.ranking import Ranking
from cnnrun.engine.snapshot import first_infinite, snapshot
from cnnrun.engine.stepper import NotFiniteError, Stepper
from cnnrun.engine.training_batches import order_of, training_and_validation
from cnnrun.engine.validation import evaluate_sums, evaluation_batch_size
from cnnrun.errors import Interrupted
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.distributed import all_reduce_sum, any_process, broadcast_buffers, world
from cnnrun.runtime.epoch_table import EpochRow
from cnnrun.runtime.interrupt import StopRequest
from cnnrun.runtime.randomness import derive_seed
from cnnrun.runtime.training_display import Reporter


class Trainer:
    """Trains the parts of an experiment, writing the log and the checkpoints of its run."""

    def __init__(
        self,
        parts: Parts,
        run: RunDirectory | None = None,
        stop: StopRequest | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """run: where log and checkpoints are written; None: nowhere.

        stop: checked after every step. schedule: of the learning rate, instead of the experiment's.

        Raises:
            ConfigError: a setting that this training can't use.
        """
        self.full, self.run, self.stop = parts, run, StopRequest() if stop is None else stop
        self.experiment, self.task, self.device = parts.experiment, parts.task, parts.device
        self.world = world()
        convert_norms(parts.model, self.experiment, self.device)
        # What the loop trains: the whole model, or the part after cached features.
        self.stepped = on_frozen_features(parts, evaluation_batch_size(parts)) or parts
        self.train_batches, self.validation_batches = training_and_validation(
            self.stepped, self.world
        )
        self.sums = EpochSums(self.stepped)
        self.stepper = Stepper(self.stepped, self.experiment.training.accumulate, self.sums)
        self.schedule = schedule or build_lr_schedule(self.experiment, len(self.train_batches))
        self.progress = Progress(accumulate=self.stepper.accumulate)
        self.random = torch.Generator(self.device)
        self.timer = SaveTimer(self.experiment.training.checkpoint_every, self.world.size)
        self.pace = Pace()
        self.ranking = Ranking(self.task, self.experiment.training.monitor)
        self.code = code_of(self.experiment.to_dict()) if run else None
        # Called with each row once it is in the log.
        self.notify: Callable[[dict[str, Any]], None] = lambda _row: None

    @property
    def total_steps(self) -> int:
        return self.experiment.training.epochs * len(self.train_batches)

    @property
    def lr(self) -> float:
        """The experiment's learning rate, which the schedule and each group multiply."""
        first: float = self.optimizer.param_groups[0]["initial_lr"]
        return float(getattr(self.experiment.optimizer, "lr", first))

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.stepper.optimizer

    # The loop ------------------------------------------------------------------------------------

    def fit(self, reporter: Reporter) -> None:
        """Train from `progress` to the last epoch, or until patience ends.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            UserError: the loss is NaN.
        """
        progress, epochs = self.progress, self.experiment.training.epochs
        while progress.epoch < epochs and not progress.stopped_early:
            row = self.finish_epoch(self.train_epoch(reporter))
            reporter.epoch(self.shown(row))

    def train_epoch(self, reporter: Reporter) -> Means:
        """Train on what is left of the current epoch; the means over its samples by metric."""
        epoch = self.progress.epoch
        if not self.progress.batch:
            self.start_epoch(epoch)
        self.set_training_mode(epoch)
        started, first_step = time.perf_counter(), self.progress.step
        seen_before = self.sums.samples
        # Always closed, so that prefetching threads end at once.
        order, draws = self.order_of(epoch), self.stepped.pipeline.draws
        with closing(self.train_batches.iterate(order, self.progress.batch, epoch)) as batches:
            for images, labels in batches:
                batch = self.progress.batch
                samples = self.train_batches.samples_of(order, batch) if draws else None
                self.train_step(images, labels, samples)
                self.collect()
                if reporter.due():
                    seen = self.sums.samples - seen_before
                    rate = seen / (time.perf_counter() - started)
                    running = self.task.texts(self.running_means())
                    reporter.update(epoch + 1, self.progress.step, running, rate)
                self.stop_or_save()
        self.running_means()
        self.sums.gather()
        means = self.running_means()
        self.pace.add(self.progress.step - first_step, time.perf_counter() - started)
        return means

    def stop_or_save(self) -> None:
        """After a step: stop if asked to, or write the checkpoint that is due."""
        stop, due = bool(self.stop), self.timer.due(self.progress.step)
        if self.world.size > 1:
            if self.progress.step % AGREE_EVERY:
                return  # the other processes don't check at this step
            stop, due = any_process([stop, due])
        if stop:
            self.interrupt()
        if due:
            self.save("last")

    def order_of(self, epoch: int) -> Tensor:
        """The training samples' order in `epoch`: (N,) int64 on the CPU."""
        return order_of(self.stepped, epoch)

    def start_epoch(self, epoch: int) -> None:
        """Let the task choose what trains in `epoch`."""
        if self.task.start_epoch(
            self.stepped.model, self.stepped.dataset, epoch, self.experiment.training.epochs
        ):
            self.stepped.trainable.look_again()
            self.stepper.renew_optimizer()

    def set_training_mode(self, epoch: int) -> None:
        """Training mode, except for what is frozen; all of it from `unfreeze_at` on."""
        self.stepped.model.train()
        if self.stepped.trainable.start_epoch(epoch):
            self.stepper.renew_wrappers()

    def train_step(self, images: Tensor, labels: Tensor, samples: Tensor | None = None) -> None:
        """One optimizer step on a batch: images (N, C, H, W) uint8, labels (N,) int64.

        samples: (N,) int64 on the CPU, indices of the training images.
        """
        progress = self.progress
        inputs, targets = self.prepare(images, labels, samples)
        size = self.train_batches.size_of(progress.batch)
        try:
            self.stepper.step_or_split(inputs, targets, progress.step, size)
            self.stepped_on(size)
        except NotFiniteError:
            progress.skipped += 1
            self.stepped_on(0)

    def stepped_on(self, samples: int) -> None:
        """Count a step on so many samples, including those of other processes; 0 if skipped."""
        self.sums.samples += samples
        self.progress.step += 1
        self.progress.batch += 1

    def prepare(
        self, images: Tensor, labels: Tensor, samples: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Set the learning rate and prepare the next step's inputs, see `Pipeline`."""
        progress = self.progress
        self.set_learning_rate(progress.step)
        epoch, pipeline = progress.epoch, self.stepped.pipeline
        if pipeline.draws:
            seed = derive_seed(self.experiment.seed, "augment", progress.step, *self.world.stream)
            self.random.manual_seed(seed)
        inputs, targets = pipeline(images, labels, self.random, samples, epoch)
        return progressive(inputs, self.experiment.training, epoch), targets

    def collect(self) -> None:
        """Every few steps, sum the recorded metrics.

        Raises:
            UserError: a loss is not finite; only checked where that needs no host sync.
        """
        if self.sums.collect_some() and self.device.type == "cpu":
            self.running_means()

    def set_learning_rate(self, step: int) -> None:
        factor = self.schedule.factor(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def running_means(self) -> Means:
        """The epoch's means so far: the only place where the loop waits for the device.

        With many processes they cover this one's part until the epoch ends.

        Raises:
            UserError: the loss is not finite.
        """
        means = self.sums.means()
        if means["loss"] is not None and not math.isfinite(means["loss"]):
            bad = self.sums.first_not_finite()
            assert bad, "some loss is not finite"
            raise self.bad_batch(bad[0]).error(bad[1], self.run)
        self.sums.unchecked.clear()
        return means

    def bad_batch(self, step: int) -> BadBatch:
        """The batch of step number `step`."""
        epoch, batch = divmod(step, len(self.train_batches))
        borders = self.train_batches.borders
        indices = self.order_of(epoch)[borders[batch] : borders[batch + 1]].tolist()
        return BadBatch(step, epoch + 1, self.lr * self.schedule.factor(step), indices)

    # Between epochs ------------------------------------------------------------------------------

    def finish_epoch(self, means: Means) -> dict[str, Any]:
        """Validate, log and save at the end of an epoch; returns the row of the log."""
        progress = self.progress
        lr = self.lr * self.schedule.factor(progress.step - len(self.train_batches))
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step, "lr": lr}
        row |= {f"train_{name}": value for name, value in means.items()}
        progress.averaged = self.stepper.end_epoch(progress.epoch)
        scores = self.validate()
        row |= {f"validation_{name}": value for name, value in scores.items()}
        if (observed := scores.get("loss", means["loss"])) is not None:
            self.schedule.observe(observed)
        self.sums.restart()
        rank = self.ranking.rank(scores, progress.best, progress.epoch + 1, self.first_infinite)
        if progress.skipped:
            row["skipped"] = progress.skipped
            progress.skipped = 0
        ask_task(self.task, row, progress)
        is_best = progress.finish_epoch(rank, self.experiment.training.patience)
        if self.run and self.world.is_main:
            self.run.append_metrics(row)
            self.notify(row)
            self.task.end_epoch(self.full.model, self.run.plots, progress.epoch)
        if is_best:
            self.save("best")
        self.save("last")
        return row

    def first_infinite(self) -> str | None:
        """The name of a weight or statistic that would be saved and is not finite."""
        with self.stepper.averaged():
            return first_infinite(self.full.model)

    def shown(self, row: dict[str, Any], seed: int | None = None) -> EpochRow:
        """What to display of a finished epoch."""
        epochs, done = self.experiment.training.epochs, self.progress.epoch
        left = self.pace.seconds_left(done, epochs)
        metrics, best = self.task.declared(), self.progress.best_epoch
        return EpochRow(row, metrics, best, epochs, self.speed, left, seed)

    def validate(self) -> Means:
        """The means over the validation split, of the averaged weights if there are any."""
        with self.stepper.averaged():
            broadcast_buffers(self.stepped.model)
            return evaluate_sums(self.stepped, self.validation_batches)

    @property
    def speed(self) -> float:
        """Training images per second, without validation and the like."""
        return self.pace.per_second(self.train_batches.samples / len(self.train_batches))

    def save(self, name: str) -> None:
        """Write the checkpoint `name`."""
        self.running_means()  # what is not finite is not saved
        # The current epoch's sums over all processes.
        self.progress.sums = all_reduce_sum(self.sums.values).tolist()
        self.progress.samples = self.sums.samples
        if not self.run or not self.world.is_main:
            return
        now = snapshot(self.full, self.stepper, self.schedule, self.progress, self.code)
        now.save(self.run.checkpoint(name))
        self.timer.saved()

    def interrupt(self) -> None:
        self.save("last")
        message = f"stopped in epoch {self.progress.epoch + 1} after step {self.progress.step}"
        if self.run:
            message += f", saved; resume with\n  cnnrun train --resume {self.run.path}"
        raise Interrupted(message, self.stop.exit_code)
