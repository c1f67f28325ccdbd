"""The running sums of an epoch: a task's metrics, summed without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnrun.components.tasks.exact_sums import exact_rest
from cnnrun.engine.parts import Parts
from cnnrun.runtime.distributed import all_reduce_sum

# Below such a mean, the rounding of exact sums matters.
_TINY = 2**-20

# Launching small sums costs more than computing them: 4 % of a small network's step.
_STEPS_AT_ONCE = 16

Means = dict[str, float | None]
"""By metric; None if no sample was measured."""


class EpochSums:
    """Sums of the task's metrics over the measured samples.

    Steps are recorded one by one and summed many at once: launching small sums costs more than
    computing them. All stays on the device until `means` is read.
    """

    def __init__(self, parts: Parts) -> None:
        self.task = parts.task
        # MPS has no float64; elsewhere float64 keeps the last digits of sums over millions of
        # samples.
        dtype = torch.float32 if parts.device.type == "mps" else torch.float64
        # The task's sums, then the rounding errors of the losses' exact sum.
        self.zeros = torch.zeros(parts.task.sum_count + 1, dtype=dtype, device=parts.device)
        self.restart()

    def restart(self) -> None:
        """Nothing is measured yet."""
        self.values = self.zeros.clone()
        self.samples = 0
        # Per step, or piece of one: its number, losses, outputs and targets.
        self.noted: list[tuple[int, Tensor, Tensor, Tensor]] = []
        # Number and losses of those already summed, until a sum is read.
        self.unchecked: list[tuple[int, Tensor]] = []

    def note(self, step: int, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Record step number `step`, or a piece of it; see `Task.sums`."""
        self.noted.append((step, losses, outputs, targets))

    def losses_since(self, first: int) -> Tensor:
        """The losses (N,) recorded from number `first` on that are not yet summed."""
        return torch.cat([losses for _, losses, *_ in self.noted[first:]])

    def forget_since(self, first: int) -> None:
        """Discard what was recorded from number `first` on."""
        del self.noted[first:]

    def collect(self) -> Tensor:
        """The sums of all that was recorded: (sums + 1,), see `__init__`."""
        if self.noted:
            numbers, pieces, outputs, targets = zip(*self.noted, strict=True)
            self.unchecked += zip(numbers, pieces, strict=True)
            self.noted.clear()
            losses = torch.cat(pieces)
            sums = self.task.sums(losses, torch.cat(outputs), torch.cat(targets))
            self.values += torch.cat((sums, exact_rest(losses)[None]))
        return self.values

    def collect_some(self) -> bool:
        """`collect` where enough steps are recorded; returns whether they were."""
        if len(self.noted) < _STEPS_AT_ONCE:
            return False
        self.collect()
        return True

    def add(self, values: list[float]) -> None:
        """Continue from sums of `collect`; those of older versions lack the rounding error."""
        self.values[: len(values)] += self.values.new_tensor(values)

    def gather(self) -> None:
        """Sum over all processes; a collective call."""
        self.values = all_reduce_sum(self.collect())

    def means(self) -> Means:
        """The means over the samples: waits for the device."""
        values = self.collect()
        if not self.samples:
            return dict.fromkeys(self.task.epoch_metrics)
        loss, *others, rest = (values / self.samples).tolist()
        loss += rest if abs(loss) < _TINY else 0.0
        return self.task.figures([loss, *others])

    def first_not_finite(self) -> tuple[int, float] | None:
        """The first step with such a loss whose sum was not read yet; and its mean loss."""
        for number, losses in self.unchecked:
            if not losses.isfinite().all():
                return number, losses.mean().item()
        self.unchecked.clear()
        return None
