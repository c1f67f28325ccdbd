"""Losses: one number per sample, so that means are over samples and no batch size shows in them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.registry import losses

# What a loss is made for; see `refuse_other_loss`.
CLASSES = ("labels", "masks")
NUMBERS = ("labels", "values", "pixels")

NonNegative = Annotated[float, Field(ge=0)]
ClassWeights = Annotated[
    Literal["none", "balanced"] | list[NonNegative],
    Field(
        description="Weights of the classes against class imbalance: `balanced` by their number of "
        "training images, or a list of one for each class."
    ),
]


@losses.register("cross_entropy")
class CrossEntropy(nn.Module):
    """Cross-entropy, with label smoothing (Szegedy et al. 2016) and class weights.

    Weights are scaled so that their mean over the training samples is 1. The mean over samples is
    then torch's weighted mean of the whole training split, whatever the batches.
    """

    compares = CLASSES
    weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        class_counts: Tensor,
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        weight: ClassWeights = "none",
    ) -> None:
        """label_smoothing: Part of each target that is spread evenly over all classes, e.g. 0.1."""
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", class_weights(weight, num_classes, class_counts))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and labels (N,) int64 or shares (N, K) to losses (N,).

        Or logits (N, K, H, W) and labels (N, H, W) int64 to losses per pixel (N, H, W).
        """
        return F.cross_entropy(
            outputs,
            targets,
            weight=self.weight,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )


def class_weights(
    weight: Literal["none", "balanced"] | list[float], num_classes: int, class_counts: Tensor
) -> Tensor | None:
    """Weights (K,) float32 whose mean over the training samples is 1; None for "none".

    `balanced` is 1 / count: all classes have the same total weight. A class without training
    samples gets the largest of the others' weights, so that it can't dominate a loss elsewhere.

    Raises:
        UserError: a list of another length than there are classes, or all zero for the classes that
        have samples.
    """
    if weight == "none":
        return None
    counts = class_counts.to(torch.float64)
    if weight == "balanced":
        if not counts.any():
            raise UserError("weight: balanced needs training samples to count; there are none")
        values = 1 / counts.clamp(min=counts[counts > 0].min())
    else:
        if len(weight) != num_classes:
            raise UserError(f"weight: {len(weight)} numbers for {num_classes} classes")
        values = torch.tensor(weight, dtype=torch.float64)
    mean = (values * counts).sum() / counts.sum()
    if not mean > 0:
        raise UserError("weight: every class that has training samples has weight 0")
    return (values / mean).float()


@losses.register("nll")
class NegativeLogLikelihood(nn.Module):
    """Negative log-likelihood after a log-softmax (harmless if the model has one already)."""

    compares = CLASSES

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits or log-probabilities (N, K), labels (N,) or shares (N, K), to losses (N,).

        Or logits (N, K, H, W) and labels (N, H, W) int64 to losses per pixel (N, H, W).
        """
        log_probabilities = F.log_softmax(outputs, dim=1)
        if not targets.is_floating_point():
            return F.nll_loss(log_probabilities, targets, reduction="none")
        return -(targets * log_probabilities).sum(1)


@losses.register("mse")
class MeanSquaredError(nn.Module):
    """Mean squared error of a sample; class labels are compared as one-hot vectors."""

    compares = NUMBERS

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, ...) and the same shape, or labels (N,) int64, to losses (N,)."""
        return _difference(outputs, targets).square().flatten(1).mean(1)


@losses.register("l1")
class MeanAbsoluteError(nn.Module):
    """Mean absolute error of a sample; class labels are compared as one-hot vectors."""

    compares = NUMBERS

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, ...) and the same shape, or labels (N,) int64, to losses (N,)."""
        return _difference(outputs, targets).abs().flatten(1).mean(1)


@losses.register("huber")
class Huber(nn.Module):
    """Squared error below `delta`, linear beyond: robust to outliers (Huber 1964)."""

    compares = NUMBERS

    def __init__(self, *, delta: Annotated[float, Field(gt=0)] = 1.0) -> None:
        """delta: Error beyond which the loss is linear; `task: regress`: in deviations."""
        super().__init__()
        self.delta = delta

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, ...) and the same shape, or labels (N,) int64, to losses (N,)."""
        size = _difference(outputs, targets).abs()
        small = size.clamp(max=self.delta)
        return (small * (size - small / 2)).flatten(1).mean(1)


def as_numbers(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets (N, ...) as numbers like `outputs`: labels (N,) as one-hot vectors (N, K)."""
    if targets.dim() == 1 and not targets.is_floating_point():
        # float32, so that bfloat16 outputs are compared, and later averaged, in float32.
        return F.one_hot(targets, outputs.shape[1]).float()
    return targets


def _difference(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs - as_numbers(outputs, targets)


@losses.register("focal")
class Focal(nn.Module):
    """Cross-entropy times (1 - p)^gamma, so that easy samples count less (Lin et al. 2017).

    `weight` is the paper's alpha, scaled as in `cross_entropy`.
    """

    compares = CLASSES
    alpha: Tensor | None

    def __init__(
        self,
        num_classes: int,
        class_counts: Tensor,
        *,
        gamma: NonNegative = 2.0,
        weight: ClassWeights = "none",
    ) -> None:
        """gamma: How much less easy samples count; 0 is cross entropy."""
        super().__init__()
        self.gamma = gamma
        self.register_buffer("alpha", class_weights(weight, num_classes, class_counts))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and labels (N,) int64 or shares (N, K) to losses (N,).

        Or logits (N, K, H, W) and labels (N, H, W) int64 to losses per pixel (N, H, W).
        """
        log_probabilities = F.log_softmax(outputs, dim=1)
        # Where p is 1, the root that a gamma below 1 takes has an infinite slope: NaN gradients.
        doubt = (1 - log_probabilities.exp()).clamp(min=torch.finfo(log_probabilities.dtype).tiny)
        terms = -(doubt**self.gamma) * log_probabilities
        if self.alpha is not None:
            terms = terms * self.alpha.view(1, -1, *[1] * (terms.dim() - 2))
        if not targets.is_floating_point():
            return terms.gather(1, targets.unsqueeze(1)).squeeze(1)
        return (terms * targets).sum(1)
