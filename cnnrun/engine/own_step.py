"""Tasks' own training steps, see `components.tasks.training_step`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.tasks.training_step import TrainingStep
from cnnrun.config.experiment import Experiment
from cnnrun.errors import UserError
from cnnrun.runtime.distributed import average_gradients

if TYPE_CHECKING:
    from cnnrun.engine.stepper import Stepper


class SeveralOptimizers(torch.optim.Optimizer):
    """Named optimizers as one: it shares their groups and state, for schedule and checkpoints."""

    def __init__(self, named: Mapping[str, torch.optim.Optimizer]) -> None:
        self.named = dict(named)
        super().__init__([group for each in named.values() for group in each.param_groups], {})
        self._share_state()

    def _share_state(self) -> None:
        first = 0
        for each in self.named.values():
            last = first + len(each.param_groups)
            each.state, each.param_groups = self.state, self.param_groups[first:last]
            first = last

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `torch.optim.Optimizer.load_state_dict`."""
        super().load_state_dict(state_dict)
        self._share_state()

    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        """Step all of them."""
        for each in self.named.values():
            each.step()


def refuse_beside_own_step(experiment: Experiment, needs_closure: bool) -> None:
    """Refuse features that split, repeat or record steps together with a custom step.

    Raises:
        ConfigError: with the place of the setting that doesn't work with it.
    """
    training = experiment.training
    refused = {
        ("optimizer",): needs_closure,
        ("training", "accumulate"): training.accumulate > 1,
        ("training", "auto_batch"): training.auto_batch,
        ("training", "auto_speed"): training.auto_speed,
        ("training", "checkpoint_activations"): training.checkpoint_activations,
        ("training", "compile"): bool(training.compile),
        ("training", "on_nan"): training.on_nan == "skip",
        ("training", "amp"): training.amp == "fp16",
    }
    for path, asked in refused.items():
        if asked:
            why = f"does not go with task {experiment.task.name}, which has its own training step"
            raise experiment.error(path, f"{why}; leave it out")


class OwnStep(TrainingStep):
    """A step on one batch, with the parts of `stepper`."""

    def __init__(
        self, stepper: Stepper, inputs: Tensor, targets: Tensor, number: int, size: int
    ) -> None:
        """size: of the whole batch; with many processes, `inputs` are this one's part of it."""
        optimizer = stepper.optimizer
        named: Mapping[str, torch.optim.Optimizer] = {"": optimizer}
        if isinstance(optimizer, SeveralOptimizers):
            named = optimizer.named
        parts = stepper.parts
        super().__init__(parts.model, parts.loss, inputs, targets, number, named)
        self._stepper, self._pipeline = stepper, parts.pipeline
        self._fraction = stepper.world.size * len(inputs) / size
        self._recorded = 0

    def run(self) -> None:
        """Let the task do the step.

        Raises:
            UserError: it recorded no losses, or not one for each of the batch's samples.
        """
        self.zero_grad()
        self._stepper.parts.task.train_step(self)
        if self._recorded != 1:
            entry = registry.tasks.get(self._stepper.parts.experiment.task.name)
            times = "never" if not self._recorded else f"{self._recorded} times"
            raise entry.mistake(f"called `step.record` {times} in `train_step`; once is needed")

    def forward(
        self, inputs: Tensor | None = None, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._stepper.forward(
            self.inputs if inputs is None else inputs,
            self.targets if targets is None else targets,
            self.model,
        )

    def autocast(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._stepper.autocast
        return context

    def backward(self, losses: Tensor) -> None:
        self._stepper.backward(losses, self._fraction)
        if self._stepper.world.size > 1:
            average_gradients(self.model)  # gradients averaged before stay unchanged

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    def zero_grad(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None

    def update(self, *optimizers: str) -> None:
        clip = self._stepper.options.clip_norm
        for name in optimizers or self.optimizers:
            if name not in self.optimizers:
                known = ", ".join(self.optimizers)
                raise UserError(f"step.update('{name}'): the task's optimizers are {known}")
            optimizer = self.optimizers[name]
            if clip is not None:
                weights = [p for group in optimizer.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(weights, clip)
            optimizer.step()

    def record(self, losses: Tensor, outputs: Tensor) -> None:
        if losses.shape != (len(self.inputs),):
            entry = registry.tasks.get(self._stepper.parts.experiment.task.name)
            found = f"recorded losses of the shape {tuple(losses.shape)} in `train_step`"
            raise entry.mistake(
                f"{found}; one for each of the batch's {len(self.inputs)} is needed"
            )
        self._recorded += 1
        self._stepper.sums.note(self.number, losses.detach(), outputs.detach(), self.targets)

    def normalize(self, pixels: Tensor) -> Tensor:
        return (pixels - self._pipeline.mean) / self._pipeline.std

    def pixels(self) -> Tensor:
        return self._pipeline.denormalize(self.inputs)
