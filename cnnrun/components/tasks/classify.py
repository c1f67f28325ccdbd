"""Classification: one label a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnrun.components.tasks.metrics import classification_scores
from cnnrun.components.tasks.task import Predictions, Task, exact_sum, per_sample
from cnnrun.errors import UserError
from cnnrun.registry import tasks


@tasks.register("classify")
class Classify(Task):
    """Tell which of K classes a picture belongs to; measured by accuracy."""

    defaults: ClassVar[dict[str, Any]] = {"loss": "cross_entropy"}
    measures = ("loss", "accuracy")
    monitor = "accuracy"
    higher_is_better: ClassVar[dict[str, bool]] = {"loss": False, "accuracy": True}
    headline = ("accuracy", "loss", "top5", "ece")
    pictures = ("samples", "curves", "confusion", "mistakes")

    def __init__(self, *, tta: Literal["none", "flip", "flip_and_shift"] = "none") -> None:
        """tta: test-time augmentation: scores are of the logits' mean over views of a picture.

        `flip` is the picture and its mirror image; `flip_and_shift` both, also moved by one pixel
        along each diagonal (with reflected borders).
        """
        self.tta = tta

    def check(self, model: nn.Module, loss: nn.Module) -> None:
        """See `Task.check`: a loss of pictures and a model that gives pictures are of no use."""
        if getattr(loss, "of_pictures", False):
            raise UserError("this loss compares pictures; to classify, use e.g. cross_entropy")
        if hasattr(model, "enter"):
            raise UserError("the model `picture` is for `task: stylize`; it classifies nothing")
        if hasattr(model, "decode"):
            raise UserError(
                "an autoencoder does not classify: use `task: reconstruct`, or the model "
                "encoder_classifier on its weights"
            )

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are logits (N, K)."""
        outputs = model(inputs)
        return per_sample(loss(outputs, targets), len(inputs)), outputs.detach()

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Task.sums`. Mixed targets (N, K) count as their largest share in the accuracy."""
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        correct = (outputs.argmax(1) == labels).sum()
        total = exact_sum(losses)
        return torch.stack((total, correct.to(total.dtype)))

    def answers(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """`outputs` (N, K) logits and `losses` (N,)."""
        outputs = torch.stack([model(view) for view in self.views(inputs)]).mean(0)
        return {"outputs": outputs, "losses": per_sample(loss(outputs, targets), len(inputs))}

    def views(self, inputs: Tensor) -> list[Tensor]:
        """The pictures (N, C, H, W) that test-time augmentation looks at."""
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
        outputs, losses = predictions.answers["outputs"], predictions.answers["losses"]
        return {
            "loss": float(losses.mean(dtype="float64")),
            **classification_scores(outputs, predictions.labels, list(classes)),
        }

    def in_words(self, scores: dict[str, Any]) -> str:
        width = max(5, *(len(row["class"]) for row in scores["per_class"]))
        lines = [
            f"accuracy           {100 * scores['accuracy']:.2f} %",
            f"top-5 accuracy     {100 * scores['top5']:.2f} %",
            f"loss               {scores['loss']:.4f}",
            f"calibration error  {scores['ece']:.4f}",
            f"\n{'class':{width}}  precision  recall    f1  images",
        ]
        for row in scores["per_class"]:
            recall, f1 = (f"{row[k]:.3f}" if row[k] is not None else "-" for k in ("recall", "f1"))
            lines.append(
                f"{row['class']:{width}}  {row['precision']:9.3f}  {recall:>6} {f1:>5}"
                f"  {row['support']:>6,}"
            )
        absent = [row["class"] for row in scores["per_class"] if not row["support"]]
        if absent:
            lines.append(f"\nwithout images in this split: {', '.join(absent)}")
        return "\n".join(lines)
