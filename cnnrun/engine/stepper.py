"""One optimizer step: clear gradients, forward, loss, backward, step, running loss."""

from __future__ import annotations

import gc
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.tasks.training_step import steps_itself
from cnnrun.engine.activation_checkpointing import checkpoint_blocks
from cnnrun.engine.attempt import Attempt
from cnnrun.engine.build_optimizer import build_optimizer
from cnnrun.engine.closures import needs_closure
from cnnrun.engine.compiling import compiled
from cnnrun.engine.epoch_sums import EpochSums
from cnnrun.engine.misfits import misfit, refuse_misfit
from cnnrun.engine.optimizer_state import load_state
from cnnrun.engine.out_of_memory import OtherRanOutError, is_out_of_memory, out_of_memory
from cnnrun.engine.own_step import OwnStep, refuse_beside_own_step
from cnnrun.engine.parts import Parts
from cnnrun.engine.swa import average_of
from cnnrun.errors import UserError
from cnnrun.runtime import console
from cnnrun.runtime.distributed import any_process, average_gradients, parallel, world
from cnnrun.runtime.randomness import seed_default
from cnnrun.runtime.torch_shortcuts import bare_backward, bare_step, bare_zero_grad

_PLAIN: AbstractContextManager[Any] = nullcontext()


class NotFiniteError(Exception):
    """The loss of a batch is NaN or infinite, and the batch is to be skipped."""


class Stepper:
    """Steps the weights of `parts` according to its `training` section."""

    def __init__(self, parts: Parts, accumulate: int, sums: EpochSums) -> None:
        """accumulate: pieces of a batch that go through the model one after the other.

        sums: where each step is recorded.
        """
        self.parts, self.options = parts, parts.experiment.training
        self.accumulate, self.sums = accumulate, sums
        self.world = world()
        # Whether the processes agree, between backward and step, that memory sufficed for all.
        self.agrees = self.options.auto_batch and self.world.size > 1
        if self.agrees and self.options.sync_batch_norm:
            raise parts.experiment.error(
                ["training", "auto_batch"],
                "with sync_batch_norm processes wait for one another in the forward pass, and one "
                "out of memory would not come; set training.accumulate instead",
            )
        self.takes_own = steps_itself(parts.task)
        self.renew_optimizer()
        if self.takes_own:
            refuse_beside_own_step(parts.experiment, self.closure)
        checkpoint_blocks(parts)
        self.parallel = parts.model
        self.renew_wrappers()
        kind = parts.device.type
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.options.amp)
        self.autocast: Any = torch.autocast(kind, dtype) if dtype else _PLAIN
        self.scaler = torch.amp.GradScaler(kind, enabled=dtype == torch.float16)
        self.renew_average()

    def renew_optimizer(self) -> None:
        """A new optimizer for what trains now."""
        self.optimizer = build_optimizer(self.parts)
        bare = not self.options.compile
        self.optimizer_step = bare_step(self.optimizer) if bare else self.optimizer.step
        self.zero_grad = bare_zero_grad(self.optimizer)
        self.closure = needs_closure(self.optimizer, self.parts.experiment, self.world.size)
        if self.closure:
            # Such optimizers flatten all weights, in memory order.
            self.parts.model.to(memory_format=torch.contiguous_format)

    def renew_average(self) -> None:
        """A new running average of the model's current tensors."""
        self.average = average_of(self.parts)

    def averaged(self) -> AbstractContextManager[None]:
        """Within it, the model has the averaged weights, if there are any."""
        return self.average.applied() if self.average else nullcontext()

    def end_epoch(self, epoch: int) -> int:
        """Called after epoch number `epoch` (from 0). Returns the number of averaged epochs."""
        return self.average.end_epoch(epoch) if self.average else 0

    def renew_wrappers(self) -> None:
        """Wrap the model again, as wrappers fix what trains when they are created."""
        wrapped = self.parallel is not self.parts.model
        self.model = self.parallel = self.parts.model
        if wrapped:
            gc.collect()  # this removes the old wrapper's hooks
        if not self.agrees and not self.takes_own:
            self.parallel = parallel(self.parts.model, self.parts.device)
        self.model = compiled(self.parallel, self.parts.experiment, self.parts.device)

    def step(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """Step number `number` (from 0) on one batch.

        inputs: (N, C, H, W) float32, normalized. targets: see `Task.step`. size: of the whole
        batch; with many processes, `inputs` are this one's part of it.

        Raises:
            NotFiniteError: with `on_nan: skip`; the weights are unchanged.
            torch.OutOfMemoryError: the weights are unchanged.
        """
        if self.closure:
            self._step_closure(inputs, targets, number, size)
        elif self.takes_own:
            OwnStep(self, inputs, targets, number, size).run()
        else:
            first = len(self.sums.noted)
            self.gradients(inputs, targets, number, size)
            if self.agrees:
                self._meet(ran_out=False)
            if self.options.on_nan == "skip":
                self._refuse_not_finite(first)
            self.update()
        if self.average:
            self.average.update(number)

    def gradients(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """Compute the gradients of the mean loss of a batch of `size`, and record the metrics."""
        self.zero_grad()
        # Gradients are averaged over the processes, whose parts may differ in size.
        weight = self.world.size / size
        for images, wanted, apart in self.pieces(inputs, targets, size):
            with apart:
                losses, outputs = self.forward(images, wanted)
                self.backward(losses, weight * len(images))
            self.sums.note(number, losses.detach(), outputs, wanted)

    def pieces(
        self, inputs: Tensor, targets: Tensor, size: int
    ) -> list[tuple[Tensor, Tensor, AbstractContextManager[Any]]]:
        """The batch in pieces; compute the gradients of each within its context."""
        # Pieces of one sample could not train batch normalization.
        count = min(self.accumulate, max(1, size // self.world.size // 2))
        if count == 1:
            return [(inputs, targets, _PLAIN)]
        # Gradients are communicated with the last piece.
        contexts = [*(self._no_sync() for _ in range(count - 1)), _PLAIN]
        images, wanted = inputs.tensor_split(count), targets.tensor_split(count)
        return list(zip(images, wanted, contexts, strict=True))

    def forward(
        self, inputs: Tensor, targets: Tensor, model: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """Forward and loss: the losses (N,) and the outputs, see `Task.step`.

        model: instead of the stepper's own.
        """
        task, model = self.parts.task, model or self.model
        try:
            with self.autocast:
                losses, outputs = task.step(model, self.parts.loss, inputs, targets)
        except Exception as error:
            if (found := misfit(error, self.parts)) is None:
                raise
            raise found from error
        refuse_misfit(self.parts, losses, len(inputs))
        if self.options.compile == "cuda_graphs":
            outputs = outputs.clone()  # see `recorded`
        return losses, outputs

    def backward(self, losses: Tensor, share: float) -> None:
        """Add the gradients of the mean of `losses`, times its fraction `share` of the batch."""
        # The gradient of the mean, without computing the mean.
        gradient = losses.new_full(losses.shape, share / losses.numel())
        bare_backward(self.scaler.scale(losses), gradient)

    def update(self) -> None:
        """Step the weights.

        Raises:
            UserError: out of memory. The step can't be undone.
        """
        try:
            if self.options.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.parts.model.parameters(), self.options.clip_norm)
            if self.scaler.is_enabled():
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                self.optimizer_step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                "out of memory during the optimizer's step; use an optimizer that keeps less"
            ) from error

    def _step_closure(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """One step of an optimizer that evaluates the loss as often as it likes (L-BFGS)."""
        first = len(self.sums.noted)

        @torch.enable_grad()
        def closure() -> Tensor:
            before = len(self.sums.noted)
            self.gradients(inputs, targets, number, size)
            loss = self.sums.losses_since(before).sum() / len(inputs)
            if before > first:  # the first evaluation is the one that counts
                self.sums.forget_since(before)
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]
        if len(self.sums.noted) == first:
            entry = registry.optimizers.get(self.parts.experiment.optimizer.name)
            raise entry.mistake("was given a closure and never called it, so no loss is known")

    # What may go wrong between backward and step -------------------------------------------------

    def step_or_split(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """`step`; with `auto_batch`, in as many pieces as memory requires.

        Raises:
            NotFiniteError: with `on_nan: skip`; the model is unchanged.
            UserError: out of memory.
        """
        revocable = self.options.auto_batch or self.options.on_nan == "skip"
        attempt = Attempt(self.parts.model, self.sums, revocable)
        while True:
            # For dropout and the like.
            seed = self.parts.experiment.seed
            seed_default(self.parts.device, seed, "forward", number, *self.world.stream)
            try:
                return self.step(inputs, targets, number, size)
            except NotFiniteError:
                attempt.undo()
                raise
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._split(error, size)
                attempt.undo()

    def _split(self, error: RuntimeError, size: int) -> None:
        """Twice as many pieces from now on, in all processes.

        Raises:
            UserError: smaller ones are impossible, or not enabled.
        """
        if self.agrees and not isinstance(error, OtherRanOutError):
            self._meet(ran_out=True)
        if not self.options.auto_batch or 4 * self.accumulate > size // self.world.size:
            raise out_of_memory(size, self.accumulate) from error
        self.accumulate *= 2
        if self.world.is_main:
            message = f"out of memory; a batch now goes in {self.accumulate} pieces"
            console.warn(message)

    def _meet(self, *, ran_out: bool) -> None:
        """Average the gradients, unless a process ran out of memory while computing them.

        Raises:
            OtherRanOutError: another process did.
        """
        [any_ran_out] = any_process([ran_out])
        if any_ran_out and not ran_out:
            raise OtherRanOutError
        if not any_ran_out:
            average_gradients(self.parts.model)

    def _refuse_not_finite(self, first: int) -> None:
        total = self.sums.losses_since(first).sum().item()
        if any_process([not math.isfinite(total)])[0]:  # all processes skip it, or none
            raise NotFiniteError

    def _no_sync(self) -> AbstractContextManager[Any]:
        """Within it, gradients accumulate in this process."""
        parallel: Any = self.parallel
        return parallel.no_sync() if hasattr(parallel, "no_sync") else _PLAIN

    # State ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned, for the experiment's rates."""
        load_state(self.optimizer, state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
