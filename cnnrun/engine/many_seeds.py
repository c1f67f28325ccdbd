"""Several seeds of one small experiment in one process, at nearly the cost of one.

Every seed keeps its own `Trainer`: its data, order, augmentation, schedule, log and checkpoints are
those of a single run, and it can be resumed as one. Only the steps are taken together, on
stacked weights. Losses equal those of separate runs up to the order of float sums.

It pays off where operations are small, as in networks for digits: there, the cost of a step is
launching operations. Larger networks on a CPU only save the start of a process per seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

import torch
from torch import Tensor

from cnnrun.config.experiment import Experiment
from cnnrun.engine.parts import Parts
from cnnrun.engine.stacked_models import StackedModels, slice_of
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import ConfigError, Interrupted, UserError
from cnnrun.runtime.distributed import world
from cnnrun.runtime.interrupt import StopRequest
from cnnrun.runtime.randomness import seed_default
from cnnrun.runtime.torch_shortcuts import bare_backward, bare_step, bare_zero_grad, is_known_code
from cnnrun.runtime.training_display import Reporter

# Losses that work on stacked outputs as on those of a single model.
TASKS = ("classify", "multilabel", "regress")

# Elementwise optimizers: each weight's update only depends on its own gradients.
ELEMENTWISE = {
    *("sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "radam", "lion"),
    *("torch/SGD", "torch/Adam", "torch/AdamW", "torch/RMSprop", "torch/Adagrad", "torch/NAdam"),
    *("torch/RAdam", "torch/Adadelta", "torch/Adamax", "torch/Rprop"),
}
# Schedules that depend on each seed's own validation loss.
OBSERVANT = ("plateau", "torch/ReduceLROnPlateau")


def check(experiment: Experiment) -> None:
    """Refuse what doesn't work with many seeds at once.

    Raises:
        ConfigError: with the place of the cause.
    """
    training = experiment.training
    can_not: dict[tuple[str, ...], bool] = {
        ("task",): experiment.task.name not in TASKS,
        ("optimizer",): experiment.optimizer.name not in ELEMENTWISE,
        ("schedule",): experiment.schedule.name in OBSERVANT,
        ("transfer",): experiment.transfer is not None,
        ("training", "accumulate"): training.accumulate > 1,
        ("training", "auto_batch"): training.auto_batch,
        ("training", "auto_speed"): training.auto_speed,
        ("training", "checkpoint_activations"): training.checkpoint_activations,
        ("training", "clip_norm"): training.clip_norm is not None,
        ("training", "swa"): training.swa is not None,
        ("training", "on_nan"): training.on_nan != "stop",
        ("training", "amp"): training.amp != "off",
        ("training", "compile"): bool(training.compile),
        ("training", "progressive_from"): training.progressive_from != 1,
    }
    problems = [
        f"{error}" for path, bad in can_not.items() if bad for error in [_refusal(experiment, path)]
    ]
    if world().size > 1:
        problems.append("seeds: many processes (torchrun) share one seed's work")
    if problems:
        raise ConfigError(problems)


def _refusal(experiment: Experiment, path: tuple[str, ...]) -> ConfigError:
    component = getattr(experiment, path[0])
    named = f"'{component.name}' " if path in (("task",), ("optimizer",), ("schedule",)) else ""
    return experiment.error(
        path, f"{named}does not work with many seeds at once; train them one by one"
    )


class Seeds:
    """Trainers in lockstep. One whose loss is NaN, or whose patience ends, stops."""

    def __init__(
        self, trainers: Sequence[Trainer], stop: StopRequest, device: torch.device
    ) -> None:
        self.trainers, self.stop, self.device = list(trainers), stop, device
        self.failed: dict[Trainer, UserError] = {}
        images, labels = next(trainers[0].train_batches.iterate())
        image, _ = trainers[0].stepped.pipeline(images[:1], labels[:1], None)
        self.models = StackedModels([trainer.stepped.model for trainer in trainers], image)
        for trainer in trainers:
            trainer.stepper.renew_average()  # the weights are in other memory now
        self.optimizer = self._stacked_optimizer()
        self.zero_grad = bare_zero_grad(self.optimizer)
        self.optimizer_step = bare_step(self.optimizer)
        self.losses_are_alike = _are_alike([trainer.stepped for trainer in trainers])

    def _stacked_optimizer(self) -> torch.optim.Optimizer:
        """The first trainer's optimizer over the stacked parameters, in the same groups."""
        like: Any = self.trainers[0].optimizer
        names = {id(p): n for n, p in self.trainers[0].stepped.model.named_parameters()}
        groups = [
            {**group, "params": [self.models.leaves[names[id(p)]] for p in group["params"]]}
            for group in like.param_groups
        ]
        stacked: torch.optim.Optimizer = type(like)(groups)
        return stacked

    @property
    def active(self) -> list[Trainer]:
        """Those that still train."""
        return [t for t in self.unfailed if not t.progress.stopped_early]

    @property
    def unfailed(self) -> list[Trainer]:
        """Those that finished or still train."""
        return [trainer for trainer in self.trainers if trainer not in self.failed]

    def fit(self, shown: Reporter) -> None:
        """Train all to their last epochs.

        Raises:
            Interrupted: a signal asked to stop; the states are saved.
        """
        epochs = self.trainers[0].experiment.training.epochs
        for epoch in range(epochs):
            if not self.active:
                return
            self._check_rates()
            self.train_epoch(epoch, shown)
            self.keep_state()
            for trainer in self.active:
                self.attempt(trainer, lambda trainer: self._finish_epoch(trainer, shown))

    def _check_rates(self) -> None:
        """Refuse schedules that have diverged, as when they depend on each seed's own loss."""
        factors = {trainer.schedule.factor(trainer.progress.step) for trainer in self.active}
        if len(factors) > 1:
            raise _refusal(self.trainers[0].experiment, ("schedule",))

    def _finish_epoch(self, trainer: Trainer, shown: Reporter) -> None:
        row = trainer.finish_epoch(trainer.running_means())
        shown.epoch(trainer.shown(row, trainer.experiment.seed))

    def attempt(self, trainer: Trainer, do: Any) -> None:
        """Run something that fails if the trainer's loss is NaN."""
        try:
            do(trainer)
        except Interrupted:
            raise
        except UserError as error:
            self.failed[trainer] = error

    def train_epoch(self, epoch: int, shown: Reporter) -> None:
        """One pass of every seed over its own samples in its own order."""
        started, lead = time.perf_counter(), self.active[0]
        orders = [trainer.order_of(epoch) for trainer in self.trainers]
        with ExitStack() as readers:
            batches = [
                readers.enter_context(closing(trainer.train_batches.iterate(order, 0, epoch)))
                for trainer, order in zip(self.trainers, orders, strict=True)
            ]
            for number, given in enumerate(zip(*batches, strict=True)):
                samples = [
                    trainer.train_batches.samples_of(order, number)
                    for trainer, order in zip(self.trainers, orders, strict=True)
                ]
                self.train_step(number, given, samples)
                if shown.due() and lead in self.active:
                    rate = lead.sums.samples / (time.perf_counter() - started)
                    means = lead.task.texts(lead.running_means())
                    shown.update(epoch + 1, lead.progress.step, means, rate)
                self._stop_or_save()
        for trainer in self.active:
            trainer.pace.add(len(trainer.train_batches), time.perf_counter() - started)

    def train_step(self, number: int, given: Sequence[Any], samples: Sequence[Tensor]) -> None:
        """One step of all seeds: batch `number` of the epoch, each seed's own."""
        prepared, masks = [], []
        for trainer, (images, labels), chosen in zip(self.trainers, given, samples, strict=True):
            step = trainer.progress.step
            prepared.append(trainer.prepare(images, labels, chosen))
            seed_default(self.device, trainer.experiment.seed, "forward", step)
            masks.append(self.models.draw_masks(len(labels)))
        inputs, targets = (torch.stack(each) for each in zip(*prepared, strict=True))
        losses, outputs = self._step(inputs, targets, masks)
        for at, trainer in enumerate(self.trainers):
            if trainer in self.failed or trainer.progress.stopped_early:
                continue
            trainer.sums.note(trainer.progress.step, losses[at], outputs[at], targets[at])
            if trainer.stepper.average:
                trainer.stepper.average.update(trainer.progress.step)
            trainer.stepped_on(trainer.train_batches.size_of(number))
            self.attempt(trainer, Trainer.collect)

    def _step(
        self, inputs: Tensor, targets: Tensor, masks: Sequence[dict[str, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Step all weights; returns (S, N) losses and (S, N, K) outputs before the step."""
        # Stopped seeds keep their weights, and their schedules stand still.
        lead = self.active[0]
        for group, like in zip(
            self.optimizer.param_groups, lead.optimizer.param_groups, strict=True
        ):
            group["lr"] = like["lr"]
        self.zero_grad()
        stacked = {name: torch.stack([mask[name] for mask in masks]) for name in masks[0]}
        try:
            outputs = self.models.forward(inputs, stacked)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise lead.experiment.error(
                ["model"], f"can't be trained for many seeds at once ({reason}); one by one it can"
            ) from error
        losses = self._losses(outputs, inputs, targets)
        # Each seed's weights only get gradients of its own mean loss.
        bare_backward(losses, losses.new_full(losses.shape, 1 / losses.shape[1]))
        self.optimizer_step()
        return losses.detach(), outputs.detach()

    def _losses(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """(S, N), by each seed's own loss; in one call if that is certain to be the same."""
        if self.losses_are_alike:
            flat, wanted = outputs.flatten(0, 1), targets.flatten(0, 1)
            first = self.trainers[0]
            losses, _ = first.stepper.forward(inputs.flatten(0, 1), wanted, _Given(flat))
            return losses.view(len(outputs), -1)
        each = zip(self.trainers, inputs, targets, outputs, strict=True)
        return torch.stack([t.stepper.forward(x, y, _Given(out))[0] for t, x, y, out in each])

    def _stop_or_save(self) -> None:
        if not self.stop and not any(t.timer.due(t.progress.step) for t in self.active):
            return
        self.keep_state()
        for trainer in self.active:
            self.attempt(trainer, lambda trainer: trainer.save("last"))
        if self.stop:
            # One whose patience has ended is still tested.
            paths = [trainer.run.path for trainer in self.unfailed if trainer.run]
            runs = "\n".join(f"  cnnrun train --resume {path}" for path in paths)
            raise Interrupted(f"stopped and saved; resume with\n{runs}", self.stop.exit_code)

    def keep_state(self) -> None:
        """Give each trainer's optimizer its slice of the stacked state, for its checkpoint."""
        for at, trainer in enumerate(self.trainers):
            for group, own in zip(
                self.optimizer.param_groups, trainer.optimizer.param_groups, strict=True
            ):
                for whole, parameter in zip(group["params"], own["params"], strict=True):
                    state = self.optimizer.state[whole]
                    trainer.optimizer.state[parameter] = {
                        key: _own(value, at, whole) for key, value in state.items()
                    }


class _Given(torch.nn.Module):
    """A model with precomputed outputs."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, _inputs: Tensor) -> Tensor:
        return self.outputs


def _are_alike(each: Sequence[Parts]) -> bool:
    """Whether one call gives the same as each seed's loss: cnnrun's own, with equal class weights.

    Others may depend on the rest of the batch, or return a mean. Each task has the state of its own
    training split.
    """
    first, *others = (parts.loss.state_dict() for parts in each)
    found, *of_others = (parts.task.state() for parts in each)
    return (
        is_known_code(type(each[0].loss).forward)
        and all(torch.equal(value, first[key]) for other in others for key, value in other.items())
        and all(other == found for other in of_others)
    )


def _own(value: Any, at: int, whole: Tensor) -> Any:
    """One seed's part of an optimizer's state; counts of steps are the same for all."""
    if isinstance(value, Tensor):
        return (slice_of(value, at) if value.shape == whole.shape else value).clone()
    return value
