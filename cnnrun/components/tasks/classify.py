"""Classification: one label per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.loss_contract import per_sample
from cnnrun.components.tasks.metrics import classification_scores, fraction_text
from cnnrun.components.tasks.task import Predictions, Task
from cnnrun.errors import UserError
from cnnrun.metrics import ACCURACY, AUROC, BALANCED, ECE, LOSS, MACRO_F1, MAJORITY, TOP5
from cnnrun.registry import tasks
from cnnrun.runtime.text_table import columns

MOST_CLASSES, WORST_CLASSES = 20, 10
"""Up to this many classes are all listed; of more, the worst, so that the rest stays on screen."""


@tasks.register("classify")
class Classify(Task):
    """Assign each image to one of K classes; scored by accuracy."""

    defaults: ClassVar[dict[str, Any]] = {"loss": "cross_entropy"}
    epoch_metrics = ("loss", "accuracy")
    metrics = (LOSS, ACCURACY, MAJORITY, BALANCED, MACRO_F1, AUROC, TOP5, ECE)
    monitor = "accuracy"
    higher_is_better: ClassVar[dict[str, bool]] = {"loss": False, "accuracy": True}
    headline = (
        *("accuracy", "majority", "balanced_accuracy", "macro_f1", "auroc"),
        *("loss", "top5", "ece"),
    )
    plots = ("samples", "curves", "confusion", "mistakes")

    def __init__(self, *, tta: Literal["none", "flip", "flip_and_shift"] = "none") -> None:
        """`flip` is the image and its mirror image; `flip_and_shift` both, also moved by one pixel
        along each diagonal (with reflected borders).

        tta: Test-time augmentation: scores are of the mean logits over views of an image.
        """
        self.tta = tta

    def check(self, model: nn.Module, loss: nn.Module) -> None:  # noqa: ARG002
        """See `Task.check`: a model whose output is an image is refused."""
        if hasattr(model, "enter"):
            raise UserError("the model `image` is for `task: stylize`; it classifies nothing")
        if hasattr(model, "decode"):
            raise UserError(
                "an autoencoder does not classify: use `task: reconstruct`, or the model "
                "encoder_classifier on its weights"
            )
        if hasattr(model, "gives_masks"):
            raise UserError("this network gives a class for each pixel; use `task: segment`")

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are logits (N, K)."""
        outputs = model(inputs)
        return per_sample(loss(outputs, targets), len(inputs)), outputs.detach()

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Task.sums`. In the accuracy, mixed targets (N, K) count as their likeliest class."""
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        right = outputs.argmax(1) == labels
        correct = right.masked_fill_(losses.isnan(), value=False).sum()  # NaN is no prediction
        total = exact_sum(losses)
        return torch.stack((total, correct.to(total.dtype)))

    def answers(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """`outputs` (N, K) logits and `losses` (N,)."""
        outputs = torch.stack([model(view) for view in self.views(inputs)]).mean(0)
        return {"outputs": outputs, "losses": per_sample(loss(outputs, targets), len(inputs))}

    def views(self, inputs: Tensor) -> list[Tensor]:
        """The views (N, C, H, W) of test-time augmentation."""
        if self.tta == "none":
            return [inputs]
        moved = [inputs]
        if self.tta == "flip_and_shift":
            height, width = inputs.shape[2:]
            wide = F.pad(inputs, (1, 1, 1, 1), mode="reflect")
            moved += [wide[:, :, :height, :width], wide[:, :, 2:, 2:]]
        return [view for one in moved for view in (one, one.flip(3))]

    def scores(self, predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
        """See `metrics.classification_scores`, and the mean `loss`."""
        outputs = predictions.answers["outputs"]
        found = classification_scores(outputs, predictions.labels, list(classes))
        return {"loss": predictions.mean_loss, **found}

    def to_text(self, scores: dict[str, Any]) -> str:
        paragraphs = [self.lines_of(scores, self.headline)]
        if unanswered := scores["unanswered"]:
            paragraphs.append(f"{unanswered:,} outputs are NaN: counted as wrong")
        rows = scores["per_class"]
        if len(rows) > MOST_CLASSES:
            rows = sorted(rows, key=lambda row: (row["f1"] is None, row["f1"]))[:WORST_CLASSES]
            more = f"(the {WORST_CLASSES} of {len(scores['per_class'])} classes with the least F1; "
            paragraphs.append(more + "--json has all)")
        paragraphs.append("\n".join(columns(_table(rows), right=(1, 2, 3, 4), names=(0,))))
        absent = [row["class"] for row in rows if not row["support"]]
        if absent:
            paragraphs.append(f"without images in this split: {', '.join(absent)}")
        return "\n\n".join(paragraphs)


def _table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    shares = ("precision", "recall", "f1")
    return [
        ["class", *shares, "images"],
        *(
            [
                str(row["class"]),
                *(fraction_text(row[key]) for key in shares),
                f"{row['support']:,}",
            ]
            for row in rows
        ),
    ]
