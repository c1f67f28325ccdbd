"""The interface between the training loop and what is trained for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from cnnrun.data.dataset import Dataset
from cnnrun.data.pixel_targets import Noise
from cnnrun.errors import UserError, did_you_mean
from cnnrun.measures import Metric, described, with_directions
from cnnrun.runtime.text_table import padded, width_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """What a model answers for every sample of a split, in the split's order.

    answers: by name (N, ...) arrays, see the task's `answers`. labels: (N,) int64.
    """

    answers: dict[str, Array]
    labels: npt.NDArray[np.int64]


class Task:
    """What the loop, evaluation and the end of a run ask of a task."""

    # Sections of the YAML file that may be left out, with what they then are.
    defaults: ClassVar[dict[str, Any]] = {}
    # The metrics that `sums` sums, by the names they have in the log; "loss" is first.
    measures: ClassVar[tuple[str, ...]]
    # What the task's own metrics are (unit, direction, name, format), those of base classes kept.
    metrics: ClassVar[tuple[Metric, ...]] = ()
    # The same in short, for a metric of which nothing but its direction is to be said.
    higher_is_better: ClassVar[dict[str, bool]] = {}
    # The metric that chooses the best epoch.
    monitor: ClassVar[str] = "loss"
    # The metric that runs are compared by; by default `monitor`.
    main_metric: ClassVar[str] = ""
    # The scores of a split that `summary.json` keeps and the command line prints.
    headline: ClassVar[tuple[str, ...]] = ()
    # The plots drawn when training has ended, by their names in `cnnrun viz`.
    plots: ClassVar[tuple[str, ...]] = ("curves",)
    # What `plots` was called; tasks that were written then still say it.
    pictures: ClassVar[tuple[str, ...]] = plots
    # What the pipeline gives as targets: labels, or the pictures' own pixels in 0..1 (N, C, H, W).
    targets: ClassVar[Literal["labels", "pixels"]] = "labels"
    # What the pipeline adds to the inputs, but not to the pixels that are the targets.
    noise: Noise | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "pictures" in vars(cls) and "plots" not in vars(cls):
            cls.plots = cls.pictures
        cls.pictures = cls.plots

    @classmethod
    def declared(cls) -> dict[str, Metric]:
        """Every metric that the task names, by name: what a class says goes before its bases."""
        found: dict[str, Metric] = {}
        for base in reversed(cls.__mro__):
            own = vars(base)
            found |= {metric.name: metric for metric in own.get("metrics", ())}
            found = with_directions(found, own.get("higher_is_better", {}))
        names = dict.fromkeys((*getattr(cls, "measures", ()), *cls.headline, *found))
        return {name: described(name, found) for name in names}

    @classmethod
    def metric(cls, name: str) -> Metric:
        """What the metric `name` is."""
        return described(name, cls.declared())

    @classmethod
    def texts(cls, scores: Mapping[str, float | None]) -> dict[str, str]:
        """Scores as people read them, by the names that people read."""
        metrics = {name: cls.metric(name) for name in scores}
        return {metrics[name].display_name: metrics[name].text(v) for name, v in scores.items()}

    @classmethod
    def ranks_by(cls, monitor: str) -> Metric:
        """The metric that `training.monitor` means, which has a direction.

        Raises:
            UserError: it is not measured on the validation split, or the task does not say whether
                more of it is better.
        """
        name = cls.monitor if monitor == "auto" else monitor
        if name not in cls.measures:
            raise UserError(
                f"'{name}' is not measured{did_you_mean(name, cls.measures)}; after an epoch there "
                f"are {', '.join(cls.measures)}"
            )
        metric = cls.metric(name)
        if metric.higher_is_better is None:
            raise UserError(
                f"the task does not say whether more of '{name}' is better: give its class "
                f'`higher_is_better = {{"{name}": True}}`, or False'
            )
        return metric

    def check(self, model: nn.Module, loss: nn.Module) -> None:
        """Refuse a model or loss that this task can't use.

        Raises:
            UserError: what would fit instead.
        """

    def check_epochs(self, model: nn.Module, epochs: int) -> None:
        """Refuse a training of fewer epochs than the task needs.

        Raises:
            UserError: how many it needs.
        """

    def begin_epoch(
        self,
        model: nn.Module,  # noqa: ARG002
        dataset: Dataset,  # noqa: ARG002
        epoch: int,  # noqa: ARG002
        epochs: int,  # noqa: ARG002
    ) -> bool:
        """Called before epoch number `epoch` (from 0) of `epochs`, and again when it is resumed.

        Returns: whether other parameters train from now on, so that the optimizer is made anew.
        """
        return False

    def end_epoch(self, model: nn.Module, folder: Path, epoch: int) -> None:
        """Called after epoch number `epoch` (from 1), to leave pictures in `folder`."""

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Forward pass of one batch.

        inputs: (N, C, H, W) float32, normalized. targets: labels (N,) int64, shares (N, K) float32
        or pixels (N, C, H, W) float32 in 0..1.

        Returns:
            the losses (N,), whose mean is minimized, and what else `sums` needs of each sample
            (N, ...), detached. The loop keeps it for some steps, so it should not be large.
        """
        raise NotImplementedError

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sums over samples of each measure: (len(measures),), on the same device.

        losses, outputs: what `step` gave, of the samples of one or more batches. targets: theirs.
        """
        raise NotImplementedError

    def answers(
        self,
        model: nn.Module,
        loss: nn.Module,
        inputs: Tensor,
        targets: Tensor,
    ) -> dict[str, Tensor]:
        """What evaluation keeps of each sample of a batch: (N, ...) by name."""
        raise NotImplementedError

    def scores(self, predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
        """Plain values, as `cnnrun eval --json` prints them."""
        raise NotImplementedError

    def in_words(self, scores: dict[str, Any]) -> str:
        """Scores as `cnnrun eval` prints them: by default a line for each that is a number."""
        numbers = [name for name, value in scores.items() if isinstance(value, float)]
        return self.lines_of(scores, numbers)

    def lines_of(self, scores: Mapping[str, Any], names: Iterable[str]) -> str:
        """A line for each of the named scores that there are, their values under one another."""
        shown = [(self.metric(name), scores[name]) for name in names if name in scores]
        width = max((width_of(metric.display_name) for metric, _ in shown), default=0)
        return "\n".join(f"{padded(m.display_name, width)}  {m.text(v)}" for m, v in shown)


def exact_sum(values: Tensor) -> Tensor:
    """The sum of `values` (N,), (), whose bits do not depend on their order or on any grouping.

    So neither a checkpoint in the middle of an epoch nor the number of processes shows in a figure.
    Multiples of 2^-28 add up without rounding in float64 up to a total of 2^25, 3 x 10^7; beyond it
    last bits may differ. Where there is no float64 (MPS) they always may.
    """
    if values.device.type == "mps":
        return values.sum()
    return (values.double() * 2**28).round_().sum() / 2**28


def exact_rest(values: Tensor) -> Tensor:
    """What `exact_sum` rounds away of `values` (N,), (), as exactly: in multiples of 2^-56.

    Of losses below 10^-8 it is all that there is.
    """
    if values.device.type == "mps":
        return values.new_zeros(())
    scaled = values.double() * 2**28
    return ((scaled - scaled.round()) * 2**28).round_().sum() / 2**56


class LossError(UserError):
    """A loss gave what is no loss of each sample."""


def per_sample(losses: Any, count: int) -> Tensor:
    """The losses (N,) of `count` samples from what a loss gave for them.

    That is one a sample, (N,) or (N, 1), or their mean, (), which then stands for each.

    Raises:
        LossError: it is none of these, or no tensor of floating-point numbers.
    """
    if isinstance(losses, Tensor) and losses.is_floating_point():
        if losses.shape == (count,):
            return losses
        if losses.dim() == 0:
            return losses.expand(count)
        if losses.shape == (count, 1):
            return losses.squeeze(1)
        given = f"the shape {tuple(losses.shape)}"
    else:
        given = f"{losses.dtype}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
    raise LossError(
        f"gives {given} for a batch of {count}; it must give a tensor of one number a "
        f"sample, of the shape ({count},), or the batch's mean, of the shape ()"
    )
