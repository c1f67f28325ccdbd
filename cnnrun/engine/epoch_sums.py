"""The running sums of an epoch: what a task measures, added up without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnrun.components.tasks.exact_sums import exact_rest
from cnnrun.engine.parts import Parts
from cnnrun.runtime.distributed import all_reduce_sum

# Below such a mean, what exact sums round away of the losses shows.
_TINY = 2**-20

Means = dict[str, float | None]
"""By measure; None where no sample was measured."""


class EpochSums:
    """Sums of the task's measures over the samples that were measured.

    Steps are noted one by one and summed for many at once: small sums cost more to begin than to
    compute. All stays on the device until `means` is asked for.
    """

    def __init__(self, parts: Parts) -> None:
        self.task = parts.task
        # MPS has no float64; elsewhere sums over millions of samples keep their last digits.
        dtype = torch.float32 if parts.device.type == "mps" else torch.float64
        # Those of the task, and at the end what exact sums round away of the losses.
        self.zeros = torch.zeros(parts.task.sum_count + 1, dtype=dtype, device=parts.device)
        self.restart()

    def restart(self) -> None:
        """Nothing is measured yet."""
        self.values = self.zeros.clone()
        self.samples = 0
        # Of each step, or piece of one: its number, losses, outputs and targets.
        self.noted: list[tuple[int, Tensor, Tensor, Tensor]] = []
        # Number and losses of those that are summed already, until a sum was looked at.
        self.unchecked: list[tuple[int, Tensor]] = []

    def note(self, step: int, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Measure step number `step`, or a piece of it; see `Task.sums`."""
        self.noted.append((step, losses, outputs, targets))

    def losses_since(self, first: int) -> Tensor:
        """The losses (N,) of what was noted from number `first` on, and is not yet summed."""
        return torch.cat([losses for _, losses, *_ in self.noted[first:]])

    def forget_since(self, first: int) -> None:
        """As if what was noted from number `first` on had not been."""
        del self.noted[first:]

    def collect(self) -> Tensor:
        """The sums of all that was noted: (sums + 1,), see `__init__`."""
        if self.noted:
            numbers, pieces, outputs, targets = zip(*self.noted, strict=True)
            self.unchecked += zip(numbers, pieces, strict=True)
            self.noted.clear()
            losses = torch.cat(pieces)
            sums = self.task.sums(losses, torch.cat(outputs), torch.cat(targets))
            self.values += torch.cat((sums, exact_rest(losses)[None]))
        return self.values

    def add(self, values: list[float]) -> None:
        """Go on from sums that `collect` gave elsewhere; those of an older version have no rest."""
        self.values[: len(values)] += self.values.new_tensor(values)

    def gather(self) -> None:
        """Take the sums of all processes for one's own; a collective call."""
        self.values = all_reduce_sum(self.collect())

    def means(self) -> Means:
        """The means over the samples: waits for the device."""
        values = self.collect()
        if not self.samples:
            return dict.fromkeys(self.task.measures)
        loss, *others, rest = (values / self.samples).tolist()
        loss += rest if abs(loss) < _TINY else 0.0
        return self.task.figures([loss, *others])

    def first_not_finite(self) -> tuple[int, float] | None:
        """The first step, of those whose sums were not looked at, with such a loss; its mean."""
        for number, losses in self.unchecked:
            if not losses.isfinite().all():
                return number, losses.mean().item()
        self.unchecked.clear()
        return None
