"""A checkpoint and a split to scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnrun.build import Parts, build_dataset, rebuild
from cnnrun.checkpoint import Checkpoint, find_checkpoint
from cnnrun.config import from_dict, load
from cnnrun.errors import UserError
from cnnrun.metrics import IntArray, classification_scores
from cnnrun.network import build_model
from cnnrun.registry import as_mapping
from cnnrun.tasks.classify import per_sample
from cnnrun.validation import evaluation_batches


@dataclass(frozen=True)
class Predictions:
    """What a model answers for every sample of a split, in the split's order.

    outputs: (N, K) float32 logits. labels: (N,) int64. losses: (N,) float64.
    """

    outputs: npt.NDArray[np.float32]
    labels: IntArray
    losses: npt.NDArray[np.float64]


def open_checkpoint(
    target: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = ()
) -> tuple[Path, Parts, Checkpoint]:
    """The parts of a run (its best checkpoint) or of a checkpoint file, with trained weights.

    overrides: changes to the stored experiment, e.g. `dataset.root=...` or `device=cpu`.

    Raises:
        UserError: no checkpoint, or data that do not fit it.
    """
    file = find_checkpoint(target)
    checkpoint = Checkpoint.load(file)
    stored = checkpoint.config
    overrides = list(overrides)
    _refuse_foreign_code(file, stored, overrides, plugins)
    # The model goes wherever this machine computes, whatever device it was trained on.
    stored = {**stored, "device": "auto"}
    experiment = from_dict(stored, f"{file} (config)", overrides, plugins)
    return file, rebuild(checkpoint, experiment, build_dataset(experiment)), checkpoint


def model_of(
    target: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = ()
) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network, untrained, and the picture shape (C, H, W) of an experiment, run or checkpoint.

    Raises:
        UserError: there is none, or an experiment's data are not there.
    """
    overrides = list(overrides)
    if target.suffix in (".yaml", ".yml"):
        experiment = load(target, overrides, plugins)
        dataset = build_dataset(experiment)
        return build_model(experiment, dataset.input_shape, len(dataset.classes)), (
            dataset.input_shape
        )
    file = find_checkpoint(target)
    checkpoint = Checkpoint.load(file)
    _refuse_foreign_code(file, checkpoint.config, overrides, plugins)
    experiment = from_dict(checkpoint.config, f"{file} (config)", overrides, plugins)
    channels, height, width = checkpoint.input_shape
    shape = (channels, height, width)
    return build_model(experiment, shape, len(checkpoint.classes)), shape


def _refuse_foreign_code(
    file: Path, stored: dict[str, Any], overrides: list[str], plugins: Iterable[str]
) -> None:
    """A checkpoint may come from someone else: it never chooses which code is run.

    Raises:
        UserError: it names code that the command line does not name as well.
    """
    stored_plugins, dataset = stored.get("plugins"), as_mapping(stored.get("dataset"))
    needed = [
        f"--plugin {name}"
        for name in (stored_plugins if isinstance(stored_plugins, list) else [])
        if name not in plugins
    ]
    if (
        isinstance(dataset, dict)
        and dataset.get("name") == "own"
        and not any(o.startswith(("dataset=", "dataset.target=")) for o in overrides)
    ):
        needed.append(f"dataset.target={dataset.get('target')}")
    if needed:
        raise UserError(
            f"{file} was trained with code of its own; if you trust it, say so: {' '.join(needed)}"
        )


@torch.no_grad()
def predict(parts: Parts, split: str, batch_size: int | None = None) -> Predictions:
    """Run the model over a split.

    Raises:
        UserError: the split has no samples.
    """
    batches = evaluation_batches(parts, split, batch_size)
    if not batches.samples:
        raise UserError(f"the {split} split is empty")
    parts.model.eval()
    outputs, losses = [], []
    for images, labels in batches.iterate():
        inputs, targets = parts.pipeline(images, labels, None)
        answer = parts.model(inputs)
        outputs.append(answer)
        losses.append(per_sample(parts.loss(answer, targets), len(labels)))
    return Predictions(
        torch.cat(outputs).float().cpu().numpy(),
        batches.labels.cpu().numpy(),
        torch.cat(losses).cpu().double().numpy(),
    )


def scores(predictions: Predictions, classes: Iterable[str], split: str) -> dict[str, Any]:
    """What `cnnrun eval --json` prints of predictions."""
    return {
        "split": split,
        "loss": float(predictions.losses.mean()),
        **classification_scores(predictions.outputs, predictions.labels, list(classes)),
    }
