"""Likely label errors, from predictions of networks that were not trained on the images.

Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in
Dataset Labels"), in a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cnnrun.components.tasks.classify import Classify
from cnnrun.components.tasks.metrics import softmax
from cnnrun.data.dataset import Dataset
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation import out_of_fold
from cnnrun.evaluation import scoring as evaluation
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.text_table import columns

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def confident_classes(labels: Labels, probabilities: Floats) -> Labels:
    """The confident class of each image: (N,), -1 if there is none.

    A class is confident where its probability reaches its mean over the images that are labelled
    so; of several, the likeliest counts. labels: (N,). probabilities: (N, K), out of sample.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(len(labels)), labels]
    sums = np.bincount(labels, weights=own, minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    found: Labels = np.where(confident.max(1) < 0, -1, confident.argmax(1))
    return found


def margins(labels: Labels, probabilities: Floats) -> Floats:
    """The probability of the label minus that of the likeliest other class: (N,), -1..1."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    found: Floats = probabilities[rows, labels] - others.max(1)
    return found


def likely_errors(labels: Labels, probabilities: Floats) -> Labels:
    """Images whose label another class contradicts confidently, the likeliest errors first."""
    confident = confident_classes(labels, probabilities)
    wrong = np.flatnonzero((confident >= 0) & (confident != labels))
    found: Labels = wrong[np.argsort(margins(labels, probabilities)[wrong], kind="stable")]
    return found


@dataclass(frozen=True)
class Suspects:
    """Images of a data set whose labels may be wrong, likeliest errors first.

    rows: a dict for each, see `suspects`. images: (N, C, H, W) uint8. looked_at: number of checked
    images. source: where the predictions come from, as text.
    """

    rows: list[dict[str, Any]]
    images: torch.Tensor
    looked_at: int
    source: str

    def to_text(self, most: int = 50) -> str:
        heading = f"{len(self.rows):,} of {self.looked_at:,} labels may be wrong ({self.source})"
        if not self.rows:
            return heading
        rows = [
            [row["image"], row["label"], row["suggested"], f"{row['margin']:.3f}"]
            for row in self.rows[:most]
        ]
        more = [f"and {len(self.rows) - most:,} more"] if len(self.rows) > most else []
        table = [["image", "label", "suggested", "margin"], *rows]
        return "\n".join([heading, *columns(table, right=(3,), names=(0, 1, 2)), *more])


def suspects(
    target: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = ()
) -> tuple[Suspects, Parts]:
    """Likely label errors, by a cross-validation's folder or a run; and the run's parts.

    A cross-validation checks every training image, by the mean probabilities of its seeds; a single
    run only checks validation and test images, since a network agrees with the labels that it was
    trained on.

    A row has `image` (its file, or split and position), `split`, `label`, `suggested`,
    `probability` (of the label), `suggested_probability` and `margin`.

    Raises:
        UserError: not a classifier, nothing to check, or the data have changed.
    """
    file = target / out_of_fold.NAME
    overrides, plugins = list(overrides), list(plugins)
    if not file.is_file():
        _, parts, checkpoint = open_checkpoint(target, overrides, plugins)
        return _of_run(parts, checkpoint), parts
    seeds = out_of_fold.read_all(target)
    _, parts, _ = open_checkpoint(out_of_fold.first_run(target), overrides, plugins)
    return _of_folds(seeds, parts.dataset), parts


@dataclass(frozen=True)
class _Judged:
    """Labels and predictions: the columns of a row per image."""

    classes: tuple[str, ...]
    labels: Labels
    shares: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "confident", confident_classes(self.labels, self.shares))
        object.__setattr__(self, "margins", margins(self.labels, self.shares))

    confident: Labels = field(init=False, repr=False)
    margins: Floats = field(init=False, repr=False)

    @property
    def wrong(self) -> Labels:
        return likely_errors(self.labels, self.shares)

    def row(self, number: int) -> dict[str, Any]:
        label, suggested = int(self.labels[number]), int(self.confident[number])
        return {
            "label": self.classes[label],
            "suggested": self.classes[suggested],
            "probability": float(self.shares[number, label]),
            "suggested_probability": float(self.shares[number, suggested]),
            "margin": float(self.margins[number]),
        }


def _of_folds(seeds: Sequence[out_of_fold.OutOfFold], dataset: Dataset) -> Suspects:
    """From a cross-validation's predictions; its images are in both splits of `dataset`."""
    said = out_of_fold.mean_over_seeds(seeds)
    if said.classes != dataset.classes:
        raise UserError("the classes of the data are not those of the cross-validation")
    judged = _Judged(said.classes, said.labels, said.probabilities)
    places = {
        number: (split, index)
        for split in (dataset.train, dataset.split("validation"))
        for index, number in enumerate(split.ids.tolist())
    }
    labels = {
        (number, label)
        for split in (dataset.train, dataset.split("validation"))
        for number, label in zip(split.ids.tolist(), split.labels.tolist(), strict=True)
    }
    then = list(zip(said.ids.tolist(), said.labels.tolist(), strict=True))
    changed = [one not in labels and one[0] in places for one in then]
    rows, images = [], []
    for number in judged.wrong.tolist():
        known = int(said.ids[number])
        if changed[number]:
            continue  # it has been corrected
        if known not in places:
            raise UserError("the data have changed since the cross-validation: images are missing")
        split, index = places[known]
        place = {"image": split.name(index) or f"train {known}", "split": "train"}
        rows.append({**place, **judged.row(number)})
        images.append(split.images[torch.tensor([index])])
    words = f"cross-validation, {len(np.unique(said.folds))} folds"
    if len(seeds) > 1:
        words += f", mean of {len(seeds)} seeds"
    if any(changed):
        words += f"; {sum(changed):,} labels have been changed since"
    return Suspects(rows, _concatenated(images, dataset), len(said.labels), words)


def _of_run(parts: Parts, checkpoint: Checkpoint) -> Suspects:
    if not isinstance(parts.task, Classify):
        raise UserError("finding label errors needs a classifier (task: classify)")
    dataset = parts.dataset
    looked = [name for name in ("validation", "test") if len(dataset.split(name))]
    if not looked:
        raise UserError("there are no images that the network was not trained on")
    answers = {name: evaluation.predict(parts, name) for name in looked}
    judged = _Judged(
        dataset.classes,
        np.concatenate([answers[name].labels for name in looked]),
        softmax(np.concatenate([answers[name].answers["outputs"] for name in looked])),
    )
    places = [(name, index) for name in looked for index in range(len(dataset.split(name)))]
    rows, images = [], []
    for number in judged.wrong.tolist():
        name, index = places[number]
        split = dataset.split(name)
        place = {"image": split.name(index) or f"{name} {index}", "split": name}
        rows.append({**place, **judged.row(number)})
        images.append(split.images[torch.tensor([index])])
    seen = sum(evaluation.data_said(parts, name, checkpoint).trained_on or 0 for name in looked)
    words = f"{' and '.join(looked)} images"
    words += f", {seen:,} of them trained on" if seen else "; cnnrun crossval covers all"
    return Suspects(rows, _concatenated(images, dataset), len(places), words)


def _concatenated(images: list[torch.Tensor], dataset: Dataset) -> torch.Tensor:
    empty = torch.empty((0, *dataset.input_shape), dtype=torch.uint8)
    return torch.cat(images) if images else empty
