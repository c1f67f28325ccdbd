"""The learning-rate range test: rising rates for some steps, and where the loss falls fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnrun.components.schedules import Schedule
from cnnrun.config.experiment import Experiment
from cnnrun.engine.build import build
from cnnrun.engine.measuring import measure
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import UserError

# A loss this many times the least has diverged.
_DIVERGED = 4.0
# Weight of the past in the smoothed loss.
_SMOOTHING = 0.9


@dataclass(frozen=True)
class RangeTest:
    """Result of the test: the rate of each step, its loss, and the smoothed loss."""

    rates: list[float]
    losses: list[float]
    smooth: list[float]

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest, over the logarithm of the rate.

        Searched between the first tenth of the steps, where the smoothed loss averages few values,
        and the least loss; the slope is over a twentieth of the steps.
        """
        reach = max(1, len(self.smooth) // 20)
        last = max(self.smooth.index(min(self.smooth)), 2 * reach)
        first = min(len(self.smooth) // 10, last - reach - 1)
        falls = {k: self.smooth[k + reach] - self.smooth[k] for k in range(first, last - reach + 1)}
        return self.rates[min(falls, key=lambda k: falls[k]) + reach // 2]

    @property
    def tenth_of_least(self) -> float:
        """A tenth of the rate at which the smoothed loss is least."""
        return self.rates[self.smooth.index(min(self.smooth))] / 10

    @property
    def suggestion(self) -> float:
        """The smaller of both: too small a rate costs time, too large a one the run."""
        return min(self.steepest, self.tenth_of_least)


def find_rate(
    experiment: Experiment, least: float = 1e-6, greatest: float = 10.0, steps: int = 100
) -> RangeTest:
    """The learning-rate range test (Smith 2017) on a fresh network; nothing is written.

    The rate grows by the same factor at each of `steps` steps, from `least` to `greatest`, until
    the smoothed loss is four times its least. Batches come in the order of training. Other random
    streams are restored afterwards.

    Raises:
        UserError: see `build`; or the loss was NaN from the start.
    """
    # A NaN loss ends the test, whatever `on_nan` says.
    training = experiment.training.model_copy(update={"on_nan": "stop"})
    experiment = experiment.model_copy(update={"training": training})
    with random_streams_kept():
        rising = Rising(1.0, (greatest / least) ** (1 / max(steps - 1, 1)))
        trainer = Trainer(build(experiment), schedule=rising)
        rising.first = least / trainer.lr
        return _sweep(trainer, steps)


class Rising(Schedule):
    """Each step's rate is that of the step before times a factor; groups keep their ratios."""

    def __init__(self, first: float, factor: float) -> None:
        self.first, self.ratio = first, factor

    def factor(self, step: int) -> float:
        """See `Schedule.factor`."""
        return float(self.first * self.ratio**step)


def _sweep(trainer: Trainer, steps: int) -> RangeTest:
    found = RangeTest([], [], [])
    average = 0.0
    for number, (first, batch) in enumerate(_batches(trainer, steps)):
        rate = trainer.lr * trainer.schedule.factor(number)
        loss = measure(trainer, [batch], first)["loss"]
        if loss is None or not math.isfinite(loss):
            break
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        found.rates.append(rate)
        found.losses.append(loss)
        found.smooth.append(average / (1 - _SMOOTHING ** (number + 1)))
        if found.smooth[-1] > _DIVERGED * min(found.smooth):
            break
    if len(found.rates) < 3:
        raise UserError(
            f"the loss is NaN, or diverges, from a learning rate of "
            f"{trainer.lr * trainer.schedule.factor(0):g} on; try a smaller --least, and look at "
            "the data and the initializer"
        )
    return found


def _batches(trainer: Trainer, count: int) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """`count` training batches with their indices, over as many epochs as needed."""
    trainer.start_epoch(0)
    trainer.set_training_mode(0)
    given = 0
    for epoch in itertools.count():
        trainer.progress.epoch = epoch
        batches = trainer.train_batches.iterate(trainer.order_of(epoch), 0, epoch)
        with closing(batches):
            for number, batch in enumerate(batches):
                yield number, batch
                given += 1
                if given == count:
                    return


@contextmanager
def random_streams_kept() -> Iterator[None]:
    """Restore torch's own random state after the block."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=list(devices)):
        yield


def to_text(found: RangeTest) -> str:
    """The suggestion and its basis."""
    least = min(found.smooth)
    at = found.rates[found.smooth.index(least)]
    return (
        f"steepest descent at      {found.steepest:.2g}\n"
        f"lowest loss {least:<8.4g} at   {at:.2g}, a tenth of it {found.tenth_of_least:.2g}\n"
        f"suggestion               optimizer.lr={found.suggestion:.2g}{_beyond(found, at)}"
    )


def _beyond(found: RangeTest, at: float) -> str:
    """What to try if the suggestion is at an end of the tested rates."""
    first, last = found.rates[0], found.rates[-1]
    if found.suggestion < first:
        return f" (below the range tried; try --least {found.suggestion / 100:.1g})"
    if at == last:
        return f" (the loss still fell at the greatest rate; try --greatest {last * 10:.2g})"
    return ""
