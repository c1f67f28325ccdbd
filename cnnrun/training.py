"""The training loop: clear gradients, forward, loss, backward, step, running loss over samples.

All randomness comes from (seed, purpose, step), and `Progress` holds every number that is carried
from one step to the next; so a checkpoint taken after any step continues to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from cnnrun import __version__
from cnnrun.build import Parts, build_lr_schedule, build_optimizer
from cnnrun.checkpoint import Checkpoint
from cnnrun.data.batches import Batches
from cnnrun.errors import Interrupted, UserError
from cnnrun.features import with_features_ready
from cnnrun.interrupt import StopRequest
from cnnrun.progress import Reporter, duration, show
from cnnrun.randomness import derive_seed, seed_default, shuffled
from cnnrun.run import RunDirectory
from cnnrun.transfer import unfreeze
from cnnrun.validation import (
    evaluate_sums,
    evaluation_batch_size,
    evaluation_batches,
    means_of,
)


@dataclass
class Progress:
    """How far a run is. Plain values, kept in checkpoints."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs finished
    batch: int = 0  # batches done of the epoch that is under way
    sums: list[float] = field(default_factory=list)  # that epoch's sums of the measures so far
    samples: int = 0  # and over how many samples
    best: list[float] | None = None  # the best epoch's rank, see `Trainer.rank`
    best_epoch: int = 0
    stopped_early: bool = False


class Trainer:
    """Trains the parts of an experiment, writing the log and the checkpoints of `run`."""

    def __init__(self, parts: Parts, run: RunDirectory, stop: StopRequest) -> None:
        self.whole, self.run, self.stop = parts, run, stop
        self.experiment, self.task, self.device = parts.experiment, parts.task, parts.device
        # What the loop steps: all of it, or the head on features that are computed once.
        self.parts = with_features_ready(parts, evaluation_batch_size(parts)) or parts
        self.train_batches = Batches(
            self.parts.dataset.train,
            self.experiment.dataset.batch_size,
            self.device,
            self.parts.crop,
        )
        self.validation_batches = evaluation_batches(self.parts, "validation")
        if not self.train_batches.samples:
            raise self.experiment.error(["dataset"], "there are no training images")
        self.optimizer = build_optimizer(self.parts)
        self.schedule = build_lr_schedule(self.experiment, len(self.train_batches))
        self.progress = Progress()
        self.sums = self._zeros()
        self.random = torch.Generator(self.device)
        self.lr_factor = 1.0
        self.steps_timed = 0
        self.last_saved = time.monotonic()
        self.seconds = 0.0

    @property
    def total_steps(self) -> int:
        return self.experiment.training.epochs * len(self.train_batches)

    @property
    def monitor(self) -> str:
        """The measure that chooses the best epoch."""
        chosen = self.experiment.training.monitor
        return self.task.monitor if chosen == "auto" else chosen

    # The loop ------------------------------------------------------------------------------------

    def fit(self, reporter: Reporter) -> None:
        """Train from where `progress` stands to the last epoch, or until patience ends.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            UserError: the loss is no longer a number.
        """
        while self.progress.epoch < self.experiment.training.epochs:
            if self.progress.stopped_early:
                break
            means = self.train_epoch(reporter)
            row = self.finish_epoch(means)
            reporter.epoch(self.describe(row))

    def train_epoch(self, reporter: Reporter) -> dict[str, float]:
        """Train on what is left of the current epoch; the means over its samples by measure."""
        epoch = self.progress.epoch
        self.set_training_mode(epoch)
        started, first_step = time.perf_counter(), self.progress.step
        seen = 0
        split = self.parts.dataset.train
        order = shuffled(
            len(split), self.experiment.seed, epoch, split.groups, split.groups_at_once
        )
        # Closed in any case, so that threads that read ahead end at once.
        with closing(self.train_batches.iterate(order, self.progress.batch, epoch)) as batches:
            for images, labels in batches:
                self.train_step(images, labels)
                seen += len(labels)
                if reporter.due():
                    rate = seen / (time.perf_counter() - started)
                    reporter.update(epoch + 1, self.progress.step, self.running_means(), rate)
                if self.stop:
                    self.interrupt()
                if self.checkpoint_due():
                    self.save("last")
        means = self.running_means()
        self.seconds += time.perf_counter() - started
        self.steps_timed += self.progress.step - first_step
        return means

    def set_training_mode(self, epoch: int) -> None:
        """Training mode, but for what is frozen; all of it once `unfreeze_at` has come."""
        transfer = self.parts.transfer
        self.parts.model.train()
        if transfer and transfer.unfreeze_at and epoch + 1 >= transfer.unfreeze_at:
            thawed = unfreeze(self.parts.model)
            if thawed:
                lr = self.optimizer.param_groups[0]["initial_lr"]
                self.optimizer.add_param_group({"params": thawed, "lr": lr, "initial_lr": lr})
            return
        for module in self.parts.frozen:
            module.eval()

    def train_step(self, images: Tensor, labels: Tensor) -> None:
        """One optimizer step on a batch: images (N, C, H, W) uint8, labels (N,) int64."""
        progress, seed = self.progress, self.experiment.seed
        seed_default(self.device, seed, "forward", progress.step)  # dropout
        self.random.manual_seed(derive_seed(seed, "augment", progress.step))
        self.set_learning_rate(progress.step)
        inputs, targets = self.parts.pipeline(images, labels, self.random)

        self.optimizer.zero_grad(set_to_none=True)
        loss, sums = self.task.step(self.parts.model, self.parts.loss, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

        self.sums += sums
        progress.samples += len(labels)
        progress.step += 1
        progress.batch += 1

    def checkpoint_due(self) -> bool:
        """Whether `training.checkpoint_every` has passed since the last checkpoint."""
        every = self.experiment.training.checkpoint_every
        if every is None:
            return False
        count, unit = every.split()
        if unit == "steps":
            return self.progress.step % int(count) == 0
        return time.monotonic() - self.last_saved >= int(count)

    def set_learning_rate(self, step: int) -> None:
        self.lr_factor = self.schedule.factor(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.lr_factor

    def running_means(self) -> dict[str, float]:
        """The epoch's means so far: the only place where the loop waits for the device.

        Raises:
            UserError: the loss is not finite.
        """
        means = means_of(self.task.measures, self.sums, self.progress.samples)
        if not math.isfinite(means["loss"]):
            lr = self.optimizer.param_groups[0]["lr"]
            raise UserError(
                f"the loss is {means['loss']} at step {self.progress.step} (epoch "
                f"{self.progress.epoch + 1}, learning rate {lr:g}); try a smaller optimizer.lr. "
                f"What was good before is kept in {self.run.path}"
            )
        return means

    # Between epochs ------------------------------------------------------------------------------

    def finish_epoch(self, means: Mapping[str, float]) -> dict[str, Any]:
        """Validate, log, and save what an epoch ended with; returns the row of the log."""
        progress = self.progress
        lr_of_epoch = self.schedule.factor(progress.step - len(self.train_batches))
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step}
        row["lr"] = self.optimizer.param_groups[0]["initial_lr"] * lr_of_epoch
        row |= {f"train_{name}": value for name, value in means.items()}
        scores = evaluate_sums(self.parts, self.validation_batches)
        row |= {f"validation_{name}": value for name, value in scores.items()}
        self.schedule.observe(scores.get("loss", means["loss"]))
        progress.epoch += 1
        progress.batch = progress.samples = 0
        self.sums = self._zeros()
        is_best = self.is_best(scores)
        if is_best:
            progress.best_epoch = progress.epoch
            progress.best = self.rank(scores)
        patience = self.experiment.training.patience
        if patience and progress.epoch - progress.best_epoch >= patience:
            progress.stopped_early = True
        self.run.append_metrics(row)
        if is_best:
            self.save("best")
        self.save("last")
        return row

    def is_best(self, scores: Mapping[str, float]) -> bool:
        """Whether this epoch is the best yet; without a validation split, the last one always is.

        The first of equals stays; what is not a number never wins.
        """
        rank = self.rank(scores)
        if not all(map(math.isfinite, rank)):
            return False
        return not rank or self.progress.best is None or rank > self.progress.best

    def rank(self, scores: Mapping[str, float]) -> list[float]:
        """Larger is better: the monitored measure, then the loss, as small splits often tie."""
        measures = dict.fromkeys((self.monitor, "loss"))
        return [
            scores[name] if self.task.higher_is_better[name] else -scores[name]
            for name in measures
            if scores
        ]

    def describe(self, row: Mapping[str, Any]) -> str:
        """A finished epoch in one line."""
        epochs = self.experiment.training.epochs
        numbers = "  ".join(
            f"{name.replace('_', ' ')} {show(name, value)}"
            for name, value in row.items()
            if name.startswith(("train_", "validation_"))
        )
        left = self.seconds / self.progress.epoch * (epochs - self.progress.epoch)
        best = "  best" if self.progress.best_epoch == row["epoch"] else ""
        return (
            f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  {numbers}  "
            f"{self.images_per_second:,.0f} images/s  {duration(left)} left{best}"
        )

    @property
    def images_per_second(self) -> float:
        images = self.steps_timed / len(self.train_batches) * self.train_batches.samples
        return images / self.seconds if self.seconds else 0.0

    # State ---------------------------------------------------------------------------------------

    def save(self, name: str) -> None:
        """Write the checkpoint called `name`."""
        parts = self.whole
        self.progress.sums = self.sums.tolist()
        Checkpoint(
            model=parts.model.state_dict(),
            config=self.experiment.to_dict(),
            classes=list(parts.dataset.classes),
            class_counts=parts.dataset.class_counts.tolist(),
            input_shape=list(parts.dataset.input_shape),
            normalization=parts.normalization,
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            progress=asdict(self.progress),
            versions={"cnnrun": __version__, "torch": str(torch.__version__)},
        ).save(self.run.checkpoint(name))
        self.last_saved = time.monotonic()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`, whose weights `parts.model` already has."""
        self.progress = Progress(**checkpoint.progress)
        done = self.progress.epoch - (self.progress.batch == 0)
        self.set_training_mode(done)  # what had thawed by then has its place in the optimizer
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.schedule.load_state_dict(checkpoint.schedule)
        self.sums = self._zeros() + self._zeros().new_tensor(self.progress.sums)
        self.run.keep_metrics(self.progress.epoch)

    def interrupt(self) -> None:
        self.save("last")
        raise Interrupted(
            f"stopped in epoch {self.progress.epoch + 1} after step {self.progress.step}, saved; "
            f"go on with\n  cnnrun train --resume {self.run.path}",
            self.stop.exit_code,
        )

    def _zeros(self) -> Tensor:
        # MPS has no float64; elsewhere sums over millions of samples keep their last digits.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros(len(self.task.measures), dtype=dtype, device=self.device)
