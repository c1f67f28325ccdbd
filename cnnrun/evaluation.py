"""A checkpoint and a split to scores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnrun.build import Parts, build_dataset, rebuild
from cnnrun.checkpoint import Checkpoint, find_checkpoint
from cnnrun.config import from_dict, load
from cnnrun.errors import UserError
from cnnrun.network import build_model
from cnnrun.registry import as_mapping
from cnnrun.shipped import names_experiment
from cnnrun.tasks import Predictions
from cnnrun.validation import evaluation_batches


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
    if names_experiment(target):
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
    """What the model answers for every sample of a split.

    Raises:
        UserError: the split has no samples.
    """
    batches = evaluation_batches(parts, split, batch_size)
    if not batches.samples:
        raise UserError(f"the {split} split is empty")
    parts.model.eval()
    answers = []
    for images, labels in batches.iterate():
        inputs, targets = parts.pipeline(images, labels, None)
        answers.append(parts.task.answers(parts.model, parts.loss, inputs, targets))
    whole = {key: torch.cat([batch[key] for batch in answers]) for key in answers[0]}
    return Predictions(
        {key: value.float().cpu().numpy() for key, value in whole.items()},
        batches.labels.cpu().numpy(),
    )


def evaluate(
    parts: Parts, split: str, batch_size: int | None = None
) -> tuple[Predictions, dict[str, Any]]:
    """The model's answers for a split, and its scores as `cnnrun eval --json` prints them.

    Raises:
        UserError: the split has no samples.
    """
    predictions = predict(parts, split, batch_size)
    scores = parts.task.scores(predictions, parts.dataset.classes)
    return predictions, {"split": split, **scores}
