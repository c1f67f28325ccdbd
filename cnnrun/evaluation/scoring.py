"""A trained network and a split to answers and scores."""

from __future__ import annotations

from typing import Any

import torch

from cnnrun.components.tasks import Predictions
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import evaluation_batches
from cnnrun.errors import UserError


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
    return predictions, {"split": split, "samples": len(predictions.labels), **scores}
