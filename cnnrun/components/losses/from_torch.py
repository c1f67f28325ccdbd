"""torch's losses by their own names: `torch/SmoothL1Loss`, one number per sample.

torch's `reduction` is "none", and several values of a sample are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import loss as library

from cnnrun.components.losses.classification import (
    CLASSES,
    NUMBERS,
    ClassWeights,
    as_numbers,
    class_weights,
)
from cnnrun.errors import UserError
from cnnrun.registry import losses
from cnnrun.runtime.torch_signatures import factory_like

LABELS, ANY_LABELS = ("labels",), ("labels", "label_sets")


def signs(outputs: Tensor, targets: Tensor) -> Tensor:
    """Labels (N,) or sets of them (N, K) as (N, K): 1 where present, -1 elsewhere."""
    return 2 * as_numbers(outputs, targets) - 1


def positions(outputs: Tensor, targets: Tensor) -> Tensor:
    """Labels (N,) or sets (N, K) as the indices of those present, padded with -1: (N, K) int64."""
    there = as_numbers(outputs, targets) > 0.5
    places = torch.arange(there.shape[1], device=there.device).expand_as(there)
    sorted_out = there.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return places.gather(1, sorted_out).masked_fill(~there.gather(1, sorted_out), -1)


def as_they_are(_outputs: Tensor, targets: Tensor) -> Tensor:
    """Labels (N,) or shares (N, K), or labels of pixels (N, H, W)."""
    return targets


@dataclass(frozen=True)
class Use:
    """What a loss of torch compares, and the form in which it takes targets.

    takes_soft_labels: whether they may be soft labels, as mixing makes them.
    """

    compares: tuple[str, ...]
    form: Callable[[Tensor, Tensor], Tensor]
    takes_soft_labels: bool = True


USES = {
    "CrossEntropyLoss": Use(CLASSES, as_they_are),
    "MultiMarginLoss": Use(LABELS, as_they_are, takes_soft_labels=False),
    "BCEWithLogitsLoss": Use(ANY_LABELS, as_numbers),
    "MultiLabelSoftMarginLoss": Use(ANY_LABELS, as_numbers),
    "SoftMarginLoss": Use(ANY_LABELS, signs),
    "MultiLabelMarginLoss": Use(ANY_LABELS, positions, takes_soft_labels=False),
    **{
        name: Use(NUMBERS, as_numbers)
        for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss")
    },
}
_PAIRS = "compares embeddings of several images, and a loss here gets one output per image"
_REFUSED = {
    "NLLLoss": "takes log-probabilities, and networks give logits: use nll, which computes them",
    "NLLLoss2d": "takes log-probabilities, and networks give logits: use nll, which computes them",
    "BCELoss": "takes probabilities, and networks give logits: use torch/BCEWithLogitsLoss, or "
    "bce for pixels",
    "KLDivLoss": "takes log-probabilities, and networks give logits: use cross_entropy, which is "
    "the same up to a constant",
    "PoissonNLLLoss": "compares counts, which no task here learns: values are standardized",
    "GaussianNLLLoss": "needs a variance with each output: register a loss of your own",
    "CTCLoss": "compares sequences, which no task here learns",
    "LinearCrossEntropyLoss": "has a layer of its own, and the network has its head: use "
    "torch/CrossEntropyLoss",
    "HingeEmbeddingLoss": "compares distances: use torch/MultiMarginLoss, a hinge loss of logits",
    **dict.fromkeys(
        (
            *("CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss"),
            "TripletMarginWithDistanceLoss",
        ),
        _PAIRS,
    ),
}
_UNKNOWN = "gives no loss of each sample that cnnrun knows of: register a loss of your own"
# Parameters about the reduction, which is done here.
_NOT_KEYS = ("size_average", "reduce", "reduction", "ignore_index")
# Weights that torch normalizes in each batch; here over the training split, as cross_entropy.
_BY_CLASS = ("CrossEntropyLoss", "MultiMarginLoss")
_Vector = list[float] | None


def members() -> tuple[str, ...]:
    """The names of `torch.nn` losses that can be used."""
    return tuple(USES)


@losses.libraries.register(
    "torch", members, dict.fromkeys(set(library.__all__) - set(USES), _UNKNOWN) | _REFUSED
)
def torch_loss(member: str) -> Callable[..., Any]:
    """The losses of torch.nn by their own names, one number per sample.

    Class weights are scaled to a mean of 1 over the training split.
    """
    kind, by_class = getattr(nn, member), member in _BY_CLASS

    def made(num_classes: int, class_counts: Tensor, **keys: Any) -> TorchLoss:
        if by_class:
            keys["weight"] = class_weights(keys["weight"], num_classes, class_counts)
        for name in {"weight", "pos_weight"} & set(keys) if not by_class else ():
            keys[name] = _vector(name, keys[name], num_classes)
        try:
            inner = kind(reduction="none", **keys)
        except (ValueError, TypeError) as error:
            raise UserError(f"torch.nn.{member}: {error}") from error
        return TorchLoss(inner, USES[member])

    return factory_like(
        kind,
        made,
        given=["num_classes", "class_counts"],
        leave_out=_NOT_KEYS,
        types={"weight": ClassWeights if by_class else _Vector, "pos_weight": _Vector},
        defaults={"weight": "none"} if by_class else {},
    )


def _vector(name: str, given: tuple[float, ...] | None, classes: int) -> Tensor | None:
    """A key with a number for each class, as (K,) float32.

    Raises:
        UserError: there are more or fewer of them.
    """
    if given is not None and len(given) != classes:
        raise UserError(f"{name}: {len(given)} numbers for {classes} classes")
    return None if given is None else torch.tensor(given)


class TorchLoss(nn.Module):
    """One of torch's losses, as cnnrun calls it."""

    def __init__(self, inner: nn.Module, use: Use) -> None:
        super().__init__()
        self.inner, self.form, self.compares = inner, use.form, use.compares
        self.takes_soft_labels = use.takes_soft_labels

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs (N, ...) and targets, as the task has them, to losses (N,).

        Or logits (N, K, H, W) and labels (N, H, W) int64 to losses per pixel (N, H, W).
        """
        each: Tensor = self.inner(outputs, self.form(outputs, targets))
        return each if self.compares == CLASSES or each.dim() == 1 else each.flatten(1).mean(1)
