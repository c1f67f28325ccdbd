"""From a trained network and a split to predictions and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cnnrun.components.tasks import Predictions
from cnnrun.data.decoding_workers import decoding_processes
from cnnrun.data.identity import difference, trained_on
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import evaluation_batches
from cnnrun.errors import UserError
from cnnrun.evaluation.loading import lies_elsewhere
from cnnrun.runs.checkpoint import Checkpoint


@torch.no_grad()
@decoding_processes()
def predict(parts: Parts, split: str, batch_size: int | None = None) -> Predictions:
    """The model's outputs for every sample of a split.

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
        batches.targets.cpu().numpy(),
    )


@dataclass(frozen=True)
class DataSaid:
    """Facts about the scored samples.

    trained_on: how many of them the network was trained on; None if an older checkpoint does not
    say. heading: which they are and how many. warnings: reasons to distrust the scores.
    """

    trained_on: int | None
    heading: str
    warnings: list[str]


def data_said(parts: Parts, split: str, checkpoint: Checkpoint) -> DataSaid:
    """The samples of a split, compared with those that `checkpoint` was trained on."""
    dataset, held = parts.dataset, checkpoint.data
    scored = dataset.split(split)
    trained, count = trained_on(scored, held), len(scored)
    # Data without splits of their own are scored as a whole.
    what = f"{split} split, {count:,} images" if len(dataset.train) else f"all {count:,} images"
    heading = f"{what}, {trained:,} of them trained on" if trained else what
    warnings = []
    if trained and split != "train":
        warnings.append(
            f"WARNING: {trained:,} of these {count:,} images were trained on: the scores say "
            "little about new ones"
        )
    if lies_elsewhere(parts.experiment, checkpoint):
        warnings += dataset.notes
    elif changed := difference(dataset, held):
        warnings.append(f"the data have changed since the run was trained: {changed}")
    return DataSaid(trained, heading, warnings)


def evaluate(
    parts: Parts, split: str, batch_size: int | None = None
) -> tuple[Predictions, dict[str, Any]]:
    """The model's outputs for a split, and its scores as `cnnrun eval --json` prints them.

    Raises:
        UserError: the split has no samples.
    """
    predictions = predict(parts, split, batch_size)
    scores = parts.task.scores(predictions, parts.dataset.classes)
    return predictions, {"split": split, "samples": len(predictions.targets), **scores}
