"""A checkpoint and a split to scores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnrun.components.tasks import Predictions
from cnnrun.config.experiment import from_dict, load
from cnnrun.config.shipped import names_experiment
from cnnrun.engine.build import rebuild
from cnnrun.engine.build_data import build_dataset
from cnnrun.engine.build_model import build_model
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import evaluation_batches
from cnnrun.errors import UserError
from cnnrun.evaluation.foreign_code import refuse_foreign_code
from cnnrun.runs.checkpoint import Checkpoint, find_checkpoint


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
    refuse_foreign_code(file, stored, plugins, overrides)
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
    refuse_foreign_code(file, checkpoint.config, plugins, overrides)
    experiment = from_dict(checkpoint.config, f"{file} (config)", overrides, plugins)
    channels, height, width = checkpoint.input_shape
    shape = (channels, height, width)
    return build_model(experiment, shape, len(checkpoint.classes)), shape


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
