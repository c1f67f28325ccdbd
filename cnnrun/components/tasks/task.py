"""The interface between the training loop and what is trained for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.found_in_data import FoundInData
from cnnrun.components.tasks.metrics import likeliest, softmax
from cnnrun.components.tasks.training_step import OwnTraining
from cnnrun.data.dataset import Dataset
from cnnrun.data.pixel_targets import Noise
from cnnrun.data.target_kind import Kind
from cnnrun.errors import UserError, did_you_mean
from cnnrun.metrics import LOSS, Metric, described, with_directions
from cnnrun.runtime.former_names import accept_former
from cnnrun.runtime.text_table import columns, padded, width_of

Array = npt.NDArray[Any]
_FORMER = {
    "begin_epoch": "start_epoch",
    "in_words": "to_text",
    "measures": "epoch_metrics",
    "pictures": "plots",
}


@dataclass(frozen=True)
class Predictions:
    """A model's outputs for every sample of a split, in the split's order.

    answers: by name (N, ...) arrays, see the task's `answers`. targets: (N, ...), as the split's
        `Targets` hold them; of a classifier labels (N,) int64.
    """

    answers: dict[str, Array]
    targets: Array

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each sample: (N,) int64.

        Raises:
            UserError: the targets are of another kind.
        """
        if self.targets.ndim != 1:
            raise UserError("this needs a network that predicts one class per image")
        return self.targets

    @property
    def mean_loss(self) -> float:
        """The mean over samples."""
        return float(self.answers["losses"].mean(dtype="float64"))


class Task(OwnTraining, FoundInData):
    """What the training loop, evaluation and the end of a run need from a task."""

    # Sections of the YAML file that may be left out, with their defaults.
    defaults: ClassVar[dict[str, Any]] = {"loss": "cross_entropy"}
    # The metrics that `sums` sums, by the names they have in the log; "loss" is first.
    epoch_metrics: ClassVar[tuple[str, ...]] = ("loss",)
    # What the task's own metrics are (unit, direction, name, format), those of base classes kept.
    metrics: ClassVar[tuple[Metric, ...]] = (LOSS,)
    # A short form, for metrics with nothing but a direction.
    higher_is_better: ClassVar[dict[str, bool]] = {}
    # The metric that chooses the best epoch.
    monitor: ClassVar[str] = "loss"
    # The metric that runs are compared by; by default `monitor`.
    main_metric: ClassVar[str] = ""
    # The scores of a split that `summary.json` keeps and the command line prints.
    headline: ClassVar[tuple[str, ...]] = ("loss",)
    # The plots drawn when training has ended, by their names in `cnnrun viz`.
    plots: ClassVar[tuple[str, ...]] = ("curves",)
    # The targets: a kind of `cnnrun.data.targets`, or the images' own pixels in 0..1.
    targets: ClassVar[Kind | Literal["pixels"]] = "labels"
    # The network's output, for users of an exported file.
    output: ClassVar[str] = "logits (N, K)"
    # Whether `prediction_rows` has answers for single images, see `answers_images`.
    predicts: ClassVar[bool] = True
    # What the pipeline adds to the inputs, but not to pixels as targets.
    noise: Noise | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        accept_former(cls, _FORMER)

    @classmethod
    def declared(cls) -> dict[str, Metric]:
        """Every metric of the task, by name; a class overrides its bases."""
        found: dict[str, Metric] = {}
        for base in reversed(cls.__mro__):
            own = vars(base)
            found |= {metric.name: metric for metric in own.get("metrics", ())}
            found = with_directions(found, own.get("higher_is_better", {}))
        names = dict.fromkeys((*getattr(cls, "epoch_metrics", ()), *cls.headline, *found))
        return {name: described(name, found) for name in names}

    @classmethod
    def metric(cls, name: str) -> Metric:
        """The metric called `name`."""
        return described(name, cls.declared())

    @classmethod
    def texts(cls, scores: Mapping[str, float | None]) -> dict[str, str]:
        """Scores as text, by display name."""
        metrics = {name: cls.metric(name) for name in scores}
        return {metrics[name].display_name: metrics[name].text(v) for name, v in scores.items()}

    @classmethod
    def ranks_by(cls, monitor: str) -> Metric:
        """The metric that `training.monitor` means, which has a direction.

        Raises:
            UserError: it is not measured on the validation split, or the task does not say whether
                higher is better.
        """
        name = cls.monitor if monitor == "auto" else monitor
        if name not in cls.epoch_metrics:
            raise UserError(
                f"'{name}' is not measured{did_you_mean(name, cls.epoch_metrics)}; after an epoch "
                f"there are {', '.join(cls.epoch_metrics)}"
            )
        metric = cls.metric(name)
        if metric.higher_is_better is None:
            raise UserError(
                f"the task does not say whether a higher '{name}' is better: give its class "
                f'`higher_is_better = {{"{name}": True}}`, or False'
            )
        return metric

    def check(self, model: nn.Module, loss: nn.Module) -> None:
        """Refuse a model or loss that this task can't use.

        Raises:
            UserError: what would fit instead.
        """

    def check_shape(self, model: nn.Module, input_shape: tuple[int, ...], outputs: int) -> None:
        """Refuse a model by its output for an image of `input_shape` (C, H, W).

        outputs: how many classes, labels or values there are.

        Raises:
            UserError: what is needed instead.
        """

    def check_epochs(self, model: nn.Module, epochs: int) -> None:
        """Refuse a training of fewer epochs than the task needs.

        Raises:
            UserError: how many it needs.
        """

    def start_epoch(
        self,
        model: nn.Module,  # noqa: ARG002
        dataset: Dataset,  # noqa: ARG002
        epoch: int,  # noqa: ARG002
        epochs: int,  # noqa: ARG002
    ) -> bool:
        """Called before epoch number `epoch` (from 0) of `epochs`, and again when it is resumed.

        Returns: whether other parameters train from now on, so that the optimizer is rebuilt.
        """
        return False

    def loss_since(self, model: nn.Module, epochs: int) -> int:  # noqa: ARG002
        """The first epoch, from 1, whose loss can be compared with those after it."""
        return 1

    def end_epoch(self, model: nn.Module, folder: Path, epoch: int) -> None:
        """Called after epoch number `epoch` (from 1), to leave images in `folder`."""

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Forward pass of one batch.

        inputs: (N, C, H, W) float32, normalized. targets: (N, ...), as `cnnrun.data.targets` holds
        them, shares (N, K) float32 of mixed labels, or pixels (N, C, H, W) float32 in 0..1.

        Returns:
            the losses (N,), whose mean is minimized, and what else `sums` needs of each sample
            (N, ...), detached. The loop keeps it for some steps, so it should not be large.
        """
        raise NotImplementedError

    def sums(
        self,
        losses: Tensor,
        outputs: Tensor,  # noqa: ARG002
        targets: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """The sums over samples of each metric, the loss first: on the same device.

        Of shape (len(epoch_metrics),), or (`sum_count`,) where `figures` computes the metrics from
        others.

        losses, outputs: what `step` returned for the samples of one or more batches. targets:
        theirs.
        """
        return exact_sum(losses)[None]

    @property
    def sum_count(self) -> int:
        """The number of sums."""
        return len(self.epoch_metrics)

    def figures(self, means: Sequence[float]) -> dict[str, float | None]:
        """The metrics, from the means over samples of what `sums` sums: by default the same."""
        return dict(zip(self.epoch_metrics, means, strict=True))

    def answers(
        self,
        model: nn.Module,
        loss: nn.Module,
        inputs: Tensor,
        targets: Tensor,
    ) -> dict[str, Tensor]:
        """What evaluation keeps of each sample of a batch: (N, ...) by name."""
        return {"losses": self.step(model, loss, inputs, targets)[0]}

    def answers_alone(self, model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        """What `cnnrun predict` keeps of images without targets, if not `answers`."""
        raise NotImplementedError

    @property
    def answers_images(self) -> bool:
        """Whether there is an answer for single images; of a task that has its loss alone, none."""
        own = type(self)
        rows_or_answers = (own.answers, own.prediction_rows) != (Task.answers, Task.prediction_rows)
        return self.predicts and rows_or_answers

    def scores(
        self,
        predictions: Predictions,
        classes: Sequence[str],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Plain values, as `cnnrun eval --json` prints them."""
        return {"loss": predictions.mean_loss}

    def to_text(self, scores: dict[str, Any]) -> str:
        """Scores as `cnnrun eval` prints them: by default a line for each that is a number."""
        numbers = [name for name, value in scores.items() if isinstance(value, float)]
        return self.lines_of(scores, numbers)

    def prediction_rows(
        self, answers: Mapping[str, Array], names: Sequence[str], most: int
    ) -> list[dict[str, Any]]:
        """The prediction for each image as `cnnrun predict --json` prints it: plain values.

        answers: of N images, see `answers`. names: of the outputs. most: classes of each image.

        By default from `outputs`, logits (N, K).
        """
        tops = likeliest(softmax(answers["outputs"]), names, most)
        return [
            {
                "class": top[0][0],
                "probability": top[0][1],
                "top": [{"class": name, "probability": share} for name, share in top],
            }
            for top in tops
        ]

    def row_to_text(self, row: Mapping[str, Any]) -> str:
        """One of the rows of `prediction_rows` as a line."""
        return ", ".join(f"{k['class']} {100 * k['probability']:.1f} %" for k in row["top"])

    def row_to_cells(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One of the rows of `prediction_rows` as lines of a table."""
        return [{"rank": rank, **k} for rank, k in enumerate(row["top"], start=1)]

    def with_table(
        self, scores: Mapping[str, Any], head: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> str:
        """The headline scores, and below them a table of numbers with names in the first column."""
        table = columns([head, *rows], right=range(1, len(head)), names=(0,))
        return "\n".join([self.lines_of(scores, self.headline), "", *table])

    def lines_of(self, scores: Mapping[str, Any], names: Iterable[str]) -> str:
        """A line for each named score that exists, with aligned values."""
        shown = [(self.metric(name), scores[name]) for name in names if name in scores]
        width = max((width_of(metric.display_name) for metric, _ in shown), default=0)
        return "\n".join(f"{padded(m.display_name, width)}  {m.text(v)}" for m, v in shown)


accept_former(Task, _FORMER)
