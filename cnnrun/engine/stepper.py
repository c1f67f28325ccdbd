"""One optimizer step: clear gradients, forward, loss, backward, step."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.engine.build_optimizer import build_optimizer
from cnnrun.engine.compiling import compiled
from cnnrun.engine.ema import AverageWeights
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import zeros
from cnnrun.errors import UserError
from cnnrun.models.transfer import unfreeze
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime import console
from cnnrun.runtime.distributed import any_process, parallel, world
from cnnrun.runtime.files import write_json
from cnnrun.runtime.randomness import seed_default
from cnnrun.runtime.torch_shortcuts import bare_backward, bare_step
from cnnrun.runtime.weights import some


class NotFiniteError(Exception):
    """The loss of a batch is not a number, or infinite, and the batch is to be left out."""


class Stepper:
    """Steps the weights of `parts`, as its `training` section says how."""

    def __init__(self, parts: Parts, accumulate: int) -> None:
        """accumulate: pieces of a batch that go through the model one after the other."""
        self.parts, self.options = parts, parts.experiment.training
        self.accumulate = accumulate
        self.world = world()
        self.renew_optimizer()
        self.parallel = parallel(parts.model, parts.device, self.options.sync_batch_norm)
        self.model = compiled(self.parallel, parts.experiment, parts.device)
        kind = parts.device.type
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.options.amp)
        self.autocast: Any = torch.autocast(kind, dtype) if dtype else nullcontext()
        self.scaler = torch.amp.GradScaler(kind, enabled=dtype == torch.float16)
        self.renew_average()
        # Of each step, or piece of one: its number, losses, outputs and targets, to be summed for
        # many steps at once; then number and losses, until a sum of them was looked at.
        self.steps: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self.unchecked: list[tuple[int, Tensor]] = []

    def renew_optimizer(self) -> None:
        """A new optimizer, of what trains now."""
        self.optimizer = build_optimizer(self.parts)
        bare = not self.options.compile
        self.optimizer_step = bare_step(self.optimizer) if bare else self.optimizer.step
        # Such an optimizer looks at the loss more than once a step.
        self.closure = isinstance(self.optimizer, torch.optim.LBFGS)
        if self.closure and self.world.size > 1:
            raise self.parts.experiment.error(
                ["optimizer"], "lbfgs searches along a line, which many processes can't do together"
            )

    def renew_average(self) -> None:
        """A new running average, of the tensors that the model has now."""
        decay = self.options.ema
        self.average = AverageWeights(self.parts.model, decay) if decay is not None else None

    def thaw(self) -> None:
        """Let what was frozen train, at the first group's rate."""
        thawed = unfreeze(self.parts.model)
        if thawed:
            lr = self.optimizer.param_groups[0]["initial_lr"]
            self.optimizer.add_param_group({"params": thawed, "lr": lr, "initial_lr": lr})

    def step_or_split(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """`step`; with `auto_batch`, in as many pieces as the memory needs.

        Raises:
            NotFiniteError: with `on_nan: skip`; the model is as before.
            UserError: out of memory.
        """
        revocable = self.options.auto_batch or self.options.on_nan == "skip"
        buffers = list(self.parts.model.buffers()) if revocable else []
        kept = [buffer.clone() for buffer in buffers]
        done = len(self.steps)
        while True:
            # Dropout and the like.
            seed = self.parts.experiment.seed
            seed_default(self.parts.device, seed, "forward", number, *self.world.stream)
            try:
                return self.step(inputs, targets, number, size)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if not self.options.auto_batch or 4 * self.accumulate > len(inputs):
                    raise out_of_memory(len(inputs), self.accumulate) from error
                self.accumulate *= 2
                told = f"out of memory; a batch now goes in {self.accumulate} pieces"
                console.warn(told)
                self._rollback(buffers, kept, done)
            except NotFiniteError:
                self._rollback(buffers, kept, done)
                raise

    def step(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """Step number `number` (from 0) on one batch.

        inputs: (N, C, H, W) float32, normalized. targets: see `Task.step`. size: of the whole
        batch; with many processes, `inputs` are this one's part of it.
        """
        if self.closure:
            self._step_closure(inputs, targets, number)
        else:
            done = len(self.steps)
            self._gradients(inputs, targets, number, size)
            if self.options.on_nan == "skip":
                [bad] = any_process([not math.isfinite(self._loss_of(done).item())])
                if bad:  # all processes leave it out, or none
                    raise NotFiniteError
            self._update()
        if self.average:
            self.average.update(number)

    def collect(self) -> Tensor:
        """The sums of the task's measures over the steps taken since the last call."""
        sums = zeros(self.parts)
        if self.steps:
            numbers, losses, *rest = zip(*self.steps, strict=True)
            self.unchecked += zip(numbers, losses, strict=True)
            self.steps.clear()
            sums += self.parts.task.sums(torch.cat(losses), *(torch.cat(each) for each in rest))
        return sums

    def first_not_finite(self) -> tuple[int, float]:
        """The first step, of those whose sums were not looked at, with such a loss; its mean."""
        for number, losses in self.unchecked:
            if not losses.isfinite().all():
                return number, losses.mean().item()
        raise AssertionError("all losses are finite")

    def _rollback(self, buffers: list[Tensor], kept: list[Tensor], done: int) -> None:
        """As if the failed attempt had not been: batch normalization's statistics, gradients."""
        for buffer, before in zip(buffers, kept, strict=True):
            buffer.copy_(before)
        self._clear_gradients()
        del self.steps[done:]

    def _gradients(self, inputs: Tensor, targets: Tensor, number: int, size: int) -> None:
        """Fill the gradients of the mean loss of a batch of `size`."""
        self._clear_gradients()
        # Gradients are averaged over the processes, whose parts need not be equal.
        weight = self.world.size / size
        # Pieces of one sample could not train batch normalization.
        pieces = min(self.accumulate, max(1, size // self.world.size // 2))
        if pieces == 1:
            self._backward(inputs, targets, number, weight * len(inputs))
            return
        cut = zip(inputs.tensor_split(pieces), targets.tensor_split(pieces), strict=True)
        for k, (piece, of_piece) in enumerate(cut, 1):
            # Gradients travel with the last piece.
            with nullcontext() if k == pieces or self.world.size == 1 else self._no_sync():
                self._backward(piece, of_piece, number, weight * len(piece))

    def _clear_gradients(self) -> None:
        """`optimizer.zero_grad` without its entry for a profiler, 3 % of a small network's step."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _no_sync(self) -> Any:
        """Within it gradients gather in this process."""
        return self.parallel.no_sync()  # type: ignore[operator]

    def _backward(self, inputs: Tensor, targets: Tensor, number: int, share: float) -> None:
        """Add to the gradients those of the mean loss of these samples, times their `share`."""
        try:
            with self.autocast:
                losses, outputs = self.parts.task.step(self.model, self.parts.loss, inputs, targets)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise self.parts.experiment.error(
                ["dataset", "batch_size"],
                "batch normalization learns from two values a channel or more, and the last maps "
                "of one picture have one; use larger batches or pictures",
            ) from error
        # The gradient of the mean without computing one.
        gradient = losses.new_full(losses.shape, share / losses.numel())
        bare_backward(self.scaler.scale(losses), gradient)
        if self.options.compile == "cuda_graphs":
            outputs = outputs.clone()  # see `recorded`
        self.steps.append((number, losses.detach(), outputs, targets))

    def _loss_of(self, first: int) -> Tensor:
        """The sum of the losses of the pieces from number `first` on."""
        return torch.cat([losses for _, losses, *_ in self.steps[first:]]).sum()

    def _update(self) -> None:
        if self.options.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parts.model.parameters(), self.options.clip_norm)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer_step()

    def _step_closure(self, inputs: Tensor, targets: Tensor, number: int) -> None:
        """One step of an optimizer that evaluates the loss as often as it likes (L-BFGS)."""
        done = len(self.steps)

        def closure() -> Tensor:
            before = len(self.steps)
            self._gradients(inputs, targets, number, len(inputs))
            loss = self._loss_of(before) / len(inputs)
            if before > done:  # the first evaluation is the one that counts
                del self.steps[before:]
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over an optimizer's state, but rates and the like as the experiment has them now."""
        current = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.optimizer.param_groups
        ]
        self.optimizer.load_state_dict(state["optimizer"])
        self._lay_out_state()
        for group, values in zip(self.optimizer.param_groups, current, strict=True):
            group.update(values)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _lay_out_state(self) -> None:
        """Give moments the order in memory of their weights: fused kernels go by places there.

        It may be another one than they were saved in, e.g. with `channels_last` changed.
        """
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(batch_size: int, accumulate: int) -> UserError:
    """What a person can do about it."""
    return UserError(
        f"out of memory on a batch of {batch_size} pictures"
        + (f" in {accumulate} pieces" if accumulate > 1 else "")
        + f"; training.accumulate={2 * accumulate} takes half as much and gives the same steps, "
        "training.auto_batch=true finds how much is needed, dataset.batch_size="
        f"{max(1, batch_size // 2)} makes other, smaller steps"
    )


def not_finite(
    run: RunDirectory, loss: float, step: int, epoch: int, lr: float, indices: list[int]
) -> UserError:
    """What to tell of a loss that is no number; all of its batch is written to the run.

    step, epoch: from 0. indices: of the training images of the batch.
    """
    noted = run.path / "bad_batch.json"
    write_json(noted, {"step": step, "epoch": epoch + 1, "lr": lr, "indices": indices})
    last = run.checkpoint("last")
    good = f"the last good checkpoint is {last}" if last.is_file() else "there is no checkpoint yet"
    return UserError(
        f"the loss is {loss} at step {step} (epoch {epoch + 1}, learning rate {lr:g}), on "
        f"training images {some(map(str, indices))} (all are in {noted}); {good}. Try a smaller "
        "optimizer.lr, training.clip_norm=1, or training.on_nan=skip"
    )
