"""Predictions for single images for use in programs: plain values and arrays."""

from __future__ import annotations

from typing import Any

from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation.prediction import Answers, masks_of


def plain_answers(parts: Parts, answers: Answers, top: int) -> list[Any]:
    """An answer for each image; see `TrainedModel.predict`."""
    if not answers.files:
        return []
    if {"images", "codes"} <= answers.answers.keys():  # of an autoencoder
        pairs = zip(answers.answers["images"], answers.answers["codes"], strict=True)
        return [{"image": image, "code": code} for image, code in pairs]
    if not parts.task.answers_images:
        raise UserError(f"task {parts.experiment.task.name} has no answer for single images")
    rows = parts.task.prediction_rows(answers.answers, parts.dataset.classes, top)
    if parts.task.targets == "labels":
        return [[(each["class"], each["probability"]) for each in row["top"]] for row in rows]
    if "masks" in answers.answers:
        masks = masks_of(parts, answers)
        return [{**row, "mask": mask} for row, mask in zip(rows, masks, strict=True)]
    return rows
