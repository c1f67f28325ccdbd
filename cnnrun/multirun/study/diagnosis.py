"""Why a classifier did not learn: a diagnosis from its weights and activations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cnnrun.config.experiment import Experiment
from cnnrun.engine.parts import Parts
from cnnrun.evaluation.loading import open_run_of
from cnnrun.models.hooks import visit_layers

# Units whose weights differ by less than this fraction of the largest weight count as equal.
_SAME = 1e-5


def chance(class_counts: Sequence[int]) -> float:
    """The accuracy (0..1) of always predicting the most frequent class."""
    return max(class_counts) / max(sum(class_counts), 1)


def verdict(accuracy: float, class_counts: Sequence[int]) -> str:
    """A diagnosis if the accuracy is near that of guessing; empty otherwise."""
    guessing = chance(class_counts)
    if accuracy <= 1.1 * guessing + 0.01:
        return "did not learn"
    return "hardly learned" if accuracy < guessing + 0.15 * (1 - guessing) else ""


def why(run: Path, experiment: Experiment) -> str:
    """Why the network of a run of `experiment` does not learn, as a clause.

    Raises:
        UserError: there is no checkpoint, or its data are gone.
    """
    _, parts, _ = open_run_of(experiment, run)
    weights = {n: p.detach() for n, p in parts.model.named_parameters() if p.dim() > 1}
    return (
        _not_finite(weights)
        or _symmetric(weights)
        or _silent(parts)
        or _all_alike(parts)
        or "its weights differ and its signals pass, so the cause "
        "lies elsewhere (perhaps the learning "
        "rate)"
    )


def _not_finite(weights: dict[str, Tensor]) -> str:
    bad = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    return f"the weights of {_layer(bad[0])} are no longer finite: it diverged" if bad else ""


def _symmetric(weights: dict[str, Tensor]) -> str:
    """Hidden layers all of whose units have the same weights."""
    hidden = list(weights.items())[:-1]
    same = [(name, len(_units(weight))) for name, weight in hidden if _is_symmetric(weight)]
    if not same:
        return ""
    name, units = same[0]
    zero = all(bool((weights[name] == 0).all()) for name, _ in same)
    if zero:
        return (
            f"all weights of {_layer(name)} are still 0: no signal and no gradient passes through "
            "them"
        )
    return (
        f"all {units} units of {_layer(name)} still have the same weights: they started equal, so "
        "they get the same gradients, and the layer is worth a single unit"
    )


def _units(weight: Tensor) -> Tensor:
    """A row for each unit; a locally connected layer's (P, O, I) has its units second."""
    return weight.movedim(1, 0).flatten(1) if weight.dim() == 3 else weight.flatten(1)


def _is_symmetric(weight: Tensor) -> bool:
    rows = _units(weight)
    return len(rows) > 1 and bool((rows - rows[0]).abs().max() <= _SAME * rows.abs().max())


def _silent(parts: Parts) -> str:
    """A layer of activations that gives zero for every image."""
    found: list[str] = []

    def note(name: str, layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        is_hidden = not isinstance(layer, nn.Linear | nn.Conv2d)
        if isinstance(output, Tensor) and is_hidden and not output.any():
            found.append(name)

    visit_layers(parts.model, _images(parts), note)
    return f"all units of {found[0]} are dead: they give 0 for every image" if found else ""


@torch.no_grad()
def _all_alike(parts: Parts) -> str:
    """Outputs that hardly depend on the image."""
    outputs = parts.model(_images(parts)).float().cpu().numpy()
    between, within = outputs.std(0).mean(), np.abs(outputs).mean()
    if between > 1e-3 * within:
        return ""
    return "its outputs are the same for every image: the signal is lost on the way"


def _images(parts: Parts) -> Tensor:
    """Up to 100 test images, as the model gets them."""
    images = parts.dataset.test.images[torch.arange(min(100, len(parts.dataset.test)))]
    return parts.pipeline.normalize(images.to(parts.device))


def _layer(parameter: str) -> str:
    return parameter.removesuffix(".weight")
