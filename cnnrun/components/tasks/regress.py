"""Regression: numbers from an image, such as an age or a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.loss_contract import per_sample
from cnnrun.components.tasks.task import Array, Predictions, Task
from cnnrun.components.tasks.value_metrics import figures_of_sums, regression_scores
from cnnrun.data.dataset import Dataset
from cnnrun.errors import UserError
from cnnrun.metrics import LOSS, MAE, R2, RMSE
from cnnrun.registry import tasks
from cnnrun.runtime.strict_json import to_json


@tasks.register("regress")
class Regress(Task):
    """Predict numbers from an image; scored by the fraction of variance explained (R2).

    The network gives standardized numbers: each value minus its mean over the training split,
    divided by its standard deviation there. So values in different units weigh the same in the
    loss.
    """

    defaults: ClassVar[dict[str, Any]] = {"loss": "mse"}
    epoch_metrics = ("loss", "r2", "mae", "rmse")
    metrics = (LOSS, R2, MAE, RMSE)
    monitor = "r2"
    higher_is_better: ClassVar[dict[str, bool]] = {
        "loss": False,
        "r2": True,
        "mae": False,
        "rmse": False,
    }
    headline = ("r2", "mae", "rmse", "loss")
    plots = ("samples", "curves", "predicted", "residuals")
    targets = "values"
    output = "values (N, D), to be multiplied by value_std and added to value_mean"

    def __init__(self) -> None:
        self.mean: list[float] = []
        self.std: list[float] = []
        self._moments = torch.empty(2, 0)

    def learn(self, dataset: Dataset) -> None:
        """See `Task.learn`: mean and standard deviation of each value over the training split."""
        held = dataset.train.targets.held.double()
        mean, std = held.mean(0).tolist(), held.std(0, correction=0).tolist()
        self.restore({"mean": mean, "std": std})
        for name, spread in zip(dataset.classes, self.std, strict=True):
            if not spread > 0:
                raise UserError(f"all training images have the same '{name}': nothing to learn")

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.std = list(state["mean"]), list(state["std"])
        self._moments = torch.tensor([self.mean, self.std])

    def check_state(self, outputs: int) -> None:
        """See `Task.check_state`: a finite mean and a positive deviation for each value."""
        found = self._moments
        if found.shape != (2, outputs) or not found.isfinite().all() or not (found[1] > 0).all():
            raise ValueError(f"a mean and a deviation above 0 of {outputs} values are needed")

    def exported(self) -> dict[str, str]:
        return {"value_mean": to_json(self.mean), "value_std": to_json(self.std)}

    def check(self, model: nn.Module, loss: nn.Module) -> None:  # noqa: ARG002
        """See `Task.check`: a model whose output is an image is refused."""
        if any(hasattr(model, kind) for kind in ("enter", "decode", "gives_masks")):
            raise UserError("task regress needs a network that gives numbers, such as cnn")

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are standardized values (N, D)."""
        outputs = model(inputs)
        losses = per_sample(loss(outputs, self.standardized(targets)), len(inputs))
        return losses, outputs.detach()

    def standardized(self, values: Tensor) -> Tensor:
        """Values (N, D) in units of their standard deviations from their means."""
        mean, std = self._moments_at(values)
        standard: Tensor = (values - mean) / std
        return standard

    def _moments_at(self, values: Tensor) -> Tensor:
        """Means and standard deviations (2, D), where `values` are."""
        self._moments = self._moments.to(values.device)  # copied once
        return self._moments

    @property
    def sum_count(self) -> int:
        return 1 + 4 * len(self.mean)

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Task.sums`: of the standardized values t, |error|, error^2, t and t^2."""
        wanted = self.standardized(targets)
        error = outputs.float() - wanted
        each = torch.cat((error.abs(), error.square(), wanted, wanted.square()), 1)
        return torch.cat((exact_sum(losses)[None], exact_sum(each)))

    def figures(self, means: Sequence[float]) -> dict[str, float | None]:
        """See `Task.figures`; the mean over the values where there are several."""
        of_values = np.array(means[1:]).reshape(4, -1)
        return {"loss": means[0], **figures_of_sums(of_values, np.array(self.std))}

    def answers(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """`values` (N, D) in their own units, and `losses` (N,)."""
        outputs = model(inputs)
        mean, std = self._moments_at(targets)
        losses = per_sample(loss(outputs, self.standardized(targets)), len(inputs))
        return {"values": outputs.float() * std + mean, "losses": losses}

    def scores(self, predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
        """See `value_metrics.regression_scores`, and the mean `loss`."""
        found = regression_scores(predictions.answers["values"], predictions.targets, classes)
        return {"loss": predictions.mean_loss, **found}

    def prediction_rows(
        self,
        answers: Mapping[str, Array],
        names: Sequence[str],
        most: int,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """See `Task.prediction_rows`: `values` by name."""
        return [
            {"values": dict(zip(names, row, strict=True))} for row in answers["values"].tolist()
        ]

    def row_to_text(self, row: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in row["values"].items())

    def row_to_cells(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(row["values"])]

    def to_text(self, scores: dict[str, Any]) -> str:
        names = ("r2", "mae", "rmse")
        head = ["value", *(self.metric(name).display_name for name in names), "mean", "std"]
        rows = [
            [
                row["value"],
                *(self.metric(name).text(row[name]) for name in names),
                f"{row['mean']:.4g}",
                f"{row['std']:.4g}",
            ]
            for row in scores["per_value"]
        ]
        return self.with_table(scores, head, rows)
