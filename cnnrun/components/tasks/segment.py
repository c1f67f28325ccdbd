"""Segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.loss_contract import LossError, per_sample
from cnnrun.components.tasks.mask_metrics import of_counts, segmentation_scores
from cnnrun.components.tasks.metrics import fraction_text
from cnnrun.components.tasks.task import Array, Predictions, Task
from cnnrun.data.dataset import Dataset
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from cnnrun.metrics import LOSS, MIOU, PIXEL_ACCURACY
from cnnrun.registry import tasks


@tasks.register("segment")
class Segment(Task):
    """Assign each pixel to one of K classes; scored by mean intersection over union (mIoU)."""

    defaults: ClassVar[dict[str, Any]] = {"model": "unet", "loss": "cross_entropy"}
    epoch_metrics = ("loss", "miou", "pixel_accuracy")
    metrics = (LOSS, MIOU, PIXEL_ACCURACY)
    monitor = "miou"
    headline = ("miou", "pixel_accuracy", "loss")
    plots = ("samples", "curves", "overlays")
    targets = "masks"
    output = "logits (N, K, H, W)"

    def __init__(self) -> None:
        self.classes = 0

    def learn(self, dataset: Dataset) -> None:
        """See `Task.learn`: how many classes there are."""
        self.classes = len(dataset.classes)

    def state(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.classes = state["classes"]

    def check_state(self, outputs: int) -> None:
        """See `Task.check_state`: as many classes."""
        if self.classes != outputs:
            raise ValueError(f"it is of {self.classes!r} classes, and there are {outputs}")

    def check_shape(self, model: nn.Module, input_shape: tuple[int, ...], outputs: int) -> None:
        """See `Task.check_shape`: logits of each pixel."""
        image = torch.zeros(1, *input_shape, device=next(model.parameters()).device)
        modes = {module: module.training for module in model.modules()}
        with torch.no_grad():
            answer = model.eval()(image)
        for module, training in modes.items():
            module.training = training
        wanted = (1, outputs, *input_shape[1:])
        if not isinstance(answer, Tensor) or answer.shape != wanted:
            given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise UserError(
                f"task segment needs logits of each pixel, {wanted} for one image, and this model "
                f"gives {given}; use unet, whose encoder can be this model"
            )

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are (N, 3 K) pixels of each class, see `counted`."""
        outputs = model(inputs)
        losses = of_masks(loss, outputs, targets)
        return losses, counted(outputs.detach(), targets)

    @property
    def sum_count(self) -> int:
        return 1 + 3 * self.classes

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """See `Task.sums`: the loss and the pixels of each class, see `counted`."""
        total = exact_sum(losses)
        return torch.cat((total[None], outputs.to(total.dtype).sum(0)))

    def figures(self, means: Sequence[float]) -> dict[str, float | None]:
        """See `Task.figures`."""
        return {"loss": means[0], **of_counts(np.array(means[1:]).reshape(3, -1))}

    def answers(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """`counts` (N, 3 K) of pixels, see `counted`, and `losses` (N,)."""
        losses, counts = self.step(model, loss, inputs, targets)
        return {"counts": counts, "losses": losses}

    def answers_alone(self, model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        """See `Task.answers_alone`: `masks` (N, H, W), the likeliest class of each pixel."""
        return {"masks": model(inputs).argmax(1).to(torch.uint8)}

    def scores(self, predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
        """See `mask_metrics.segmentation_scores`, and the mean `loss`."""
        found = segmentation_scores(predictions.answers["counts"], classes)
        return {"loss": predictions.mean_loss, **found}

    def prediction_rows(
        self,
        answers: Mapping[str, Array],
        names: Sequence[str],
        most: int,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """See `Task.prediction_rows`: `pixels`, the fraction of the image that each class takes."""
        masks = answers["masks"]
        return [
            {"pixels": {name: float((mask == k).mean()) for k, name in enumerate(names)}}
            for mask in masks
        ]

    def row_to_text(self, row: Mapping[str, Any]) -> str:
        shares = row["pixels"].items()
        return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares if share)

    def row_to_cells(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"class": name, "share": share} for name, share in row["pixels"].items()]

    def to_text(self, scores: dict[str, Any]) -> str:
        rows = [
            [
                row["class"],
                fraction_text(row["iou"]),
                fraction_text(row["recall"]),
                f"{row['support']:,}",
            ]
            for row in scores["per_class"]
        ]
        return self.with_table(scores, ["class", "IoU", "recall", "pixels"], rows)


def of_masks(loss: nn.Module, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each image (N,): the mean over its pixels that are not ignored.

    outputs: logits (N, K, H, W). targets: (N, H, W) uint8.

    Raises:
        LossError: it returns neither one number per pixel nor one per image.
    """
    known = targets != IGNORED
    wanted = targets.long().masked_fill(~known, 0)
    if getattr(loss, "whole_masks", False):
        return per_sample(loss(outputs, wanted, known), len(outputs))
    each = loss(outputs, wanted)
    if not isinstance(each, Tensor) or each.shape != targets.shape:
        given = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
        raise LossError(f"gives {given}; of masks it must give {tuple(targets.shape)}, a pixel's")
    return (each * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def counted(outputs: Tensor, targets: Tensor) -> Tensor:
    """True positives, predicted and actual pixels of each class in each image: (N, 3 K).

    outputs: logits (N, K, H, W). targets: (N, H, W) uint8; ignored pixels do not count.
    """
    count, classes = outputs.shape[:2]
    said, wanted = outputs.argmax(1).flatten(1), targets.flatten(1).long()
    known = wanted != IGNORED
    # Ignored pixels go to an extra class, which is cut off.
    there = wanted.where(known, classes)
    said = said.where(known, classes)
    hits = there.where(said == there, classes)
    one = torch.ones((), dtype=torch.float32, device=outputs.device).expand(said.shape)
    parts = [
        outputs.new_zeros((count, classes + 1), dtype=torch.float32).scatter_add_(1, part, one)
        for part in (hits, said, there)
    ]
    return torch.cat([part[:, :classes] for part in parts], 1)
