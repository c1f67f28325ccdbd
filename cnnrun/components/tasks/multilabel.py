"""Multi-label classification: any number of labels per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.label_set_metrics import (
    best_thresholds,
    f1_scores,
    half,
    label_set_scores,
)
from cnnrun.components.tasks.loss_contract import per_sample
from cnnrun.components.tasks.metrics import FloatArray, fraction_text
from cnnrun.components.tasks.task import Array, Predictions, Task
from cnnrun.data.dataset import Dataset
from cnnrun.errors import UserError
from cnnrun.metrics import (
    EXACT,
    LOSS,
    MACRO_F1,
    MACRO_F1_HALF,
    MAP,
    MICRO_F1,
    MICRO_F1_HALF,
)
from cnnrun.registry import tasks
from cnnrun.runtime.strict_json import to_json


@tasks.register("multilabel")
class Multilabel(Task):
    """Find which of K labels apply to an image, from none to all; scored by mAP.

    During training, a label is predicted from a probability of 0.5 on. Before testing, each label
    gets the threshold with the highest F1 on the validation split.
    """

    defaults: ClassVar[dict[str, Any]] = {"loss": "bce_logits"}
    epoch_metrics = ("loss", "macro_f1_half", "micro_f1_half")
    metrics = (LOSS, MACRO_F1_HALF, MICRO_F1_HALF, MAP, MICRO_F1, MACRO_F1, EXACT)
    monitor = "macro_f1_half"
    main_metric = "map"
    headline = ("map", "macro_f1", "micro_f1", "exact", "loss")
    plots = ("samples", "curves", "label_curves")
    targets = "label_sets"
    settles = True
    output = "logits (N, K); a label is there where its sigmoid reaches its one of `thresholds`"

    def __init__(self) -> None:
        self.labels = 0
        # None until they are chosen: then 0.5.
        self.chosen: list[float] | None = None

    @property
    def thresholds(self) -> list[float]:
        """K probabilities: a label is predicted from its own on."""
        return self.chosen or [0.5] * self.labels

    def learn(self, dataset: Dataset) -> None:
        """See `Task.learn`: how many labels there are."""
        self.labels = len(dataset.classes)

    def settle(self, validation: Predictions) -> None:
        """See `Task.settle`: the thresholds."""
        probabilities = sigmoid(validation.answers["outputs"])
        self.chosen = best_thresholds(probabilities, validation.targets)

    def state(self) -> dict[str, Any]:
        return {"labels": self.labels, "thresholds": self.chosen}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.labels, self.chosen = state["labels"], state["thresholds"]

    def check_state(self, outputs: int) -> None:
        """See `Task.check_state`: as many labels, and a threshold for each or none chosen."""
        if self.labels != outputs:
            raise ValueError(f"it is of {self.labels!r} labels, and there are {outputs}")
        chosen = self.thresholds
        if len(chosen) != outputs or not all(0 <= float(p) <= 1 for p in chosen):
            raise ValueError(f"{outputs} thresholds in 0..1 are needed")

    def exported(self) -> dict[str, str]:
        return {"thresholds": to_json(self.thresholds)}

    def check(self, model: nn.Module, loss: nn.Module) -> None:  # noqa: ARG002
        """See `Task.check`: a model whose output is an image is refused."""
        if any(hasattr(model, kind) for kind in ("enter", "decode", "gives_masks")):
            raise UserError("task multilabel needs a network that gives logits, such as cnn")

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are logits (N, K)."""
        outputs = model(inputs)
        return per_sample(loss(outputs, targets), len(inputs)), outputs.detach()

    @property
    def sum_count(self) -> int:
        return 1 + 3 * self.labels

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Task.sums`: true positives, predicted and actual images of each label."""
        # A label that was mixed in counts where it has the larger weight.
        said, there = outputs >= 0, targets >= 0.5
        total = exact_sum(losses)
        counts = torch.cat((said & there, said, there), 1).sum(0)
        return torch.cat((total[None], counts.to(total.dtype)))

    def figures(self, means: Sequence[float]) -> dict[str, float | None]:
        """See `Task.figures`."""
        hits, said, there = np.array(means[1:]).reshape(3, -1)
        return {"loss": means[0], **half(f1_scores(hits, said, there))}

    def answers(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """`outputs` (N, K) logits and `losses` (N,)."""
        outputs = model(inputs)
        return {"outputs": outputs, "losses": per_sample(loss(outputs, targets), len(inputs))}

    def scores(self, predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
        """See `label_set_metrics.label_set_scores`, and the mean `loss`."""
        probabilities = sigmoid(predictions.answers["outputs"])
        found = label_set_scores(probabilities, predictions.targets, classes, self.thresholds)
        return {"loss": predictions.mean_loss, **found}

    def prediction_rows(
        self,
        answers: Mapping[str, Array],
        names: Sequence[str],
        most: int,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """See `Task.prediction_rows`: `labels` that are present, `probabilities` of all by name."""
        return [
            {
                "labels": [
                    name for name, p, t in zip(names, row, self.thresholds, strict=True) if p >= t
                ],
                "probabilities": dict(zip(names, row, strict=True)),
            }
            for row in sigmoid(answers["outputs"]).tolist()
        ]

    def row_to_text(self, row: Mapping[str, Any]) -> str:
        shares = row["probabilities"]
        return ", ".join(f"{name} {100 * shares[name]:.1f} %" for name in row["labels"]) or "none"

    def row_to_cells(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {"label": name, "probability": p, "there": int(name in row["labels"])}
            for name, p in row["probabilities"].items()
        ]

    def to_text(self, scores: dict[str, Any]) -> str:
        figures = ("average_precision", "precision", "recall", "f1", "threshold")
        head = ["label", "average precision", "precision", "recall", "F1", "threshold", "images"]
        rows = [
            [row["label"], *(fraction_text(row[key]) for key in figures), f"{row['support']:,}"]
            for row in scores["per_label"]
        ]
        return self.with_table(scores, head, rows)


def sigmoid(outputs: Array) -> FloatArray:
    """Probabilities (N, K) of logits (N, K), in float64."""
    return np.asarray(torch.from_numpy(outputs).double().sigmoid().numpy())
