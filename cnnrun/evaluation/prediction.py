"""What a trained network answers for images in files, prepared as its training prepared them.

The images become the samples of a data set, which goes through the same pipeline, task and
batches as a split in `evaluation`: so an image gets the same answer here and in `cnnrun eval`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnrun.components.tasks.metrics import likeliest, softmax
from cnnrun.components.tasks.task import Array, Task
from cnnrun.data.dataset import BadFile, Split
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.files import Files, empty_images
from cnnrun.data.images.scan import scan
from cnnrun.data.prefetch import prefetch
from cnnrun.data.sources.folder_listing import images_below, is_run, run_around
from cnnrun.data.targets import KINDS, Labels
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import evaluation_batch_size
from cnnrun.errors import UserError
from cnnrun.evaluation import scoring as evaluation
from cnnrun.runtime import console
from cnnrun.runtime.paths import expanded


@dataclass(frozen=True)
class Answers:
    """What the model answers for the images of a batch.

    files: N paths. images: (N, C, H, W) uint8, as the model is given them before normalization.
    answers: by name (N, ...), as the task's `answers`; {} where N is 0.
    bad: files of the batch that could not be decoded.
    """

    files: list[str]
    images: Tensor
    answers: dict[str, Array]
    bad: list[BadFile]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(N, K), by class, of a classifier."""
        return softmax(self.answers["outputs"]) if self.files else np.empty((0, 0))

    def top(self, count: int, classes: Sequence[str]) -> list[list[tuple[str, float]]]:
        """For each image its `count` likeliest (class, probability), the likeliest first."""
        return likeliest(self.probabilities, classes, count)


def find_images(names: Iterable[str]) -> list[str]:
    """The files that `names` (files, folders, patterns such as `photos/**/*.jpg`) mean, each once.

    A name that means nothing stays in the list, so that it comes up as a file that is not there.

    Raises:
        UserError: a run's own folder, whose images are plots.
    """
    found: dict[str, None] = {}
    for name in names:
        try:
            found.update(dict.fromkeys(_meant_by(name)))
        except (OSError, ValueError):  # no system has a file of such a name
            found[name] = None
    return list(found)


def _meant_by(name: str) -> list[str]:
    path = expanded(name)
    if path.is_dir():
        return _images_in(path)
    if path.exists():
        return [str(path)]
    return sorted(glob.glob(str(path), recursive=True)) or [name]  # noqa: PTH207


def _images_in(folder: Path) -> list[str]:
    """The images below a folder, without the plots of runs.

    Raises:
        UserError: it is a run's own folder.
    """
    if run := run_around(folder):
        raise UserError(
            f"{folder}: the images in the run directory {run} are its own plots; name the folder "
            "of the images to predict"
        )
    images = images_below(str(folder))[0]
    below = {place for image in images for place in Path(image).parents if folder in place.parents}
    runs = {place for place in below if is_run(place)}
    kept = [image for image in images if not runs.intersection(Path(image).parents)]
    if len(kept) < len(images):
        console.warn(f"{folder}: {len(images) - len(kept):,} plots of runs are skipped")
    return kept


def predict_files(
    parts: Parts, files: Sequence[str], batch_size: int | None = None
) -> Iterator[Answers]:
    """What the model answers for image files, a batch at a time, the next ones being decoded.

    parts: of a trained network; its data set's form of images is what they are brought to.
    batch_size: None is what evaluation takes.

    Raises:
        UserError: the task answers nothing for single images.
    """
    if not parts.task.predicts:
        raise UserError(f"task {parts.experiment.task.name} gives no classes to predict")
    form = form_of(parts)
    bad: dict[int, str] = {}

    def decode(indices: Tensor) -> Tensor:
        images = empty_images(len(indices), form)
        numbers = indices.tolist()
        findings = scan(Files([files[i] for i in numbers]), ImageOptions(), form, images)
        bad.update({numbers[row]: reason for row, reason in findings.bad.items()})
        return images

    size = batch_size or evaluation_batch_size(parts)
    batches = torch.split(torch.arange(len(files)), size)
    for indices, images in zip(batches, prefetch(decode, batches), strict=True):
        good = [row for row, index in enumerate(indices.tolist()) if index not in bad]
        kept = images[good]
        yield Answers(
            [files[int(indices[row])] for row in good],
            kept,
            answers_for(parts, kept),
            [BadFile(files[i], bad[i]) for i in indices.tolist() if i in bad],
        )


def predict_images(parts: Parts, images: Tensor) -> npt.NDArray[np.float64]:
    """The probabilities (N, K) of images (N, C, H, W) uint8 that have the model's form already.

    Raises:
        UserError: the model does not classify.
    """
    if not len(images):
        return np.empty((0, len(parts.dataset.classes)))
    answers = answers_for(parts, images)
    if "outputs" not in answers:
        raise UserError(f"task {parts.experiment.task.name} gives no classes to predict")
    return softmax(answers["outputs"])


def answers_for(parts: Parts, images: Tensor) -> dict[str, Array]:
    """The task's answers for images (N, C, H, W) uint8 that have the model's form already."""
    if not len(images):
        return {}
    if type(parts.task).answers_alone is not Task.answers_alone:
        with torch.no_grad():
            inputs = parts.pipeline.normalize(images.to(parts.device))
            alone = parts.task.answers_alone(parts.model.eval(), inputs)
        return {name: value.cpu().numpy() for name, value in alone.items()}
    kind, outputs = KINDS.get(parts.task.targets, Labels), len(parts.dataset.classes)
    height, width = images.shape[2:]
    nobody_knows = kind.unknown(len(images), outputs, (height, width))  # the losses are unused
    dataset = replace(parts.dataset, test=Split(images, nobody_knows))
    return evaluation.predict(replace(parts, dataset=dataset), "test").answers


def form_of(parts: Parts) -> ImageFormat:
    """What every image was brought to in training: size, channels and how it got there."""
    channels, height, width = parts.dataset.input_shape
    dataset = parts.experiment.dataset
    crop = dataset.crop_fraction
    return ImageFormat((height, width), channels, dataset.resize, dataset.bits or 16, crop)
