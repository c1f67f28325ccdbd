"""Predictions for each training image by the network not trained on it, as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnrun.components.tasks.metrics import softmax
from cnnrun.components.tasks.multilabel import sigmoid
from cnnrun.components.tasks.task import Array, Predictions, Task
from cnnrun.data.dataset import Split
from cnnrun.errors import UserError
from cnnrun.runtime.files import write_text
from cnnrun.runtime.reading import read_json, read_text

NAME = "predictions.csv"
RESULT = "crossval.json"
"""In the same folder: the scores, and which files hold predictions, one for each seed."""


@dataclass(frozen=True)
class Fold:
    """A fold's network's predictions for the images that it was not trained on."""

    number: int
    split: Split
    predictions: Predictions


@dataclass(frozen=True)
class OutOfFold:
    """A classifier's predictions for N images, as read from a file.

    ids: (N,) int64, see `Split.ids`. folds: (N,). labels: (N,). probabilities: (N, K).
    """

    classes: tuple[str, ...]
    ids: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]


def pooled(folds: Sequence[Fold]) -> Predictions:
    """The predictions of all folds as one split."""
    first = folds[0].predictions.answers
    return Predictions(
        {key: np.concatenate([f.predictions.answers[key] for f in folds]) for key in first},
        np.concatenate([f.predictions.targets for f in folds]),
    )


def write(file: Path, folds: Sequence[Fold], task: Task, classes: Sequence[str]) -> None:
    """A line for each image, in the order of their names or positions.

    `id`, `image`, `fold`, and by the task: `true`, `predicted` and a probability for each class;
    the same for each label; the true and predicted values; for others, the loss of each image and
    further single numbers per image.
    """
    rows: list[dict[str, Any]] = []
    for fold in folds:
        columns = _columns(fold.predictions, task, classes)
        for row in range(len(fold.split)):
            number = int(fold.split.ids[row])
            name = fold.split.name(row) or str(number)
            rows.append({"id": number, "image": name, "fold": fold.number})
            rows[-1] |= {key: values[row] for key, values in columns.items()}
    by_name = any(fold.split.names for fold in folds)
    rows.sort(key=lambda row: row["image"] if by_name else row["id"])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def _columns(said: Predictions, task: Task, classes: Sequence[str]) -> dict[str, list[Any]]:
    answers, targets = said.answers, said.targets
    if task.targets == "labels" and "outputs" in answers:
        shares = softmax(answers["outputs"])
        found = {
            "true": [classes[label] for label in targets],
            "predicted": [classes[label] for label in shares.argmax(1)],
        }
        return found | _named("probability of ", classes, shares)
    if task.targets == "label_sets" and "outputs" in answers:
        shares = sigmoid(answers["outputs"])
        truth = _named("true ", classes, targets.astype(int))
        return truth | _named("probability of ", classes, shares)
    if task.targets == "values" and "values" in answers:
        return _named("true ", classes, targets) | _named("predicted ", classes, answers["values"])
    return {key: values.tolist() for key, values in answers.items() if values.ndim == 1}


def _named(prefix: str, classes: Sequence[str], values: Array) -> dict[str, list[Any]]:
    return {f"{prefix}{name}": values[:, k].tolist() for k, name in enumerate(classes)}


def read_all(folder: Path) -> list[OutOfFold]:
    """The predictions of a cross-validation: those of its first seed, then those of the others.

    Raises:
        UserError: a file is from another task, damaged or missing.
    """
    names = [Path(file).name for file in _listed(folder, "predictions") or [NAME]]
    return [read(folder / name) for name in names]


def first_run(folder: Path) -> Path:
    """A run of the first seed: it has all images of its predictions, in two splits."""
    listed = [folder.joinpath("runs", *Path(run).parts[-2:]) for run in _listed(folder, "runs")]
    found = sorted(config.parent for config in folder.glob("runs/*/*/config.yaml"))
    return next(iter([*listed, *found]), folder)


def _listed(folder: Path, key: str) -> list[str]:
    """What its `crossval.json` lists; a folder may be moved, so only names in it count."""
    result = folder / RESULT
    found = read_json(result) if result.is_file() else {}
    return list(found.get(key) or [])


def mean_over_seeds(said: Sequence[OutOfFold]) -> OutOfFold:
    """The first, with the mean probabilities of its images over all that have them.

    Of several networks that were not trained on an image, none alone decides.
    """
    rows = {number: row for row, number in enumerate(said[0].ids.tolist())}
    sums, counts = np.zeros_like(said[0].probabilities), np.zeros((len(said[0].ids), 1))
    for one in said:
        known = np.array([number in rows for number in one.ids.tolist()], bool)
        at = [rows[number] for number in one.ids[known].tolist()]
        np.add.at(sums, at, one.probabilities[known])
        np.add.at(counts, at, 1)
    return replace(said[0], probabilities=sums / counts)


def read(file: Path) -> OutOfFold:
    """What `write` wrote of a classifier.

    Raises:
        UserError: it is from another task, or missing.
    """
    prefix = "probability of "
    reader = csv.DictReader(io.StringIO(read_text(file)))
    classes = tuple(
        name.removeprefix(prefix) for name in reader.fieldnames or () if name.startswith(prefix)
    )
    if not classes or "true" not in (reader.fieldnames or ()):
        raise UserError(f"{file}: holds no probabilities of classes; this needs a classifier")
    try:
        rows = list(reader)
        return OutOfFold(
            classes,
            np.array([int(row["id"]) for row in rows], np.int64),
            np.array([int(row["fold"]) for row in rows], np.int64),
            np.array([classes.index(row["true"]) for row in rows], np.int64),
            np.array([[float(row[prefix + name]) for name in classes] for row in rows]),
        )
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{file}: damaged ({error})") from error
