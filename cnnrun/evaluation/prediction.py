"""A trained network's predictions for the user's images, prepared as in training.

The images become a data set, which goes through the same pipeline, task and batches as a split in
evaluation: so an image gets the same prediction here and in `cnnrun eval`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnrun.components.tasks.metrics import softmax
from cnnrun.components.tasks.multilabel import sigmoid
from cnnrun.components.tasks.task import Array, Task
from cnnrun.data.dataset import BadFile, Split
from cnnrun.data.images.conversion import restored_mask
from cnnrun.data.images.decoding import ImageFormat
from cnnrun.data.images.files import empty_images, for_each
from cnnrun.data.images.framing import frame_opened
from cnnrun.data.images.given import GivenImage, opened
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.prefetch import prefetch
from cnnrun.data.sources.folder_listing import images_below, is_run, run_around
from cnnrun.data.targets import KINDS, Labels
from cnnrun.engine.parts import Parts
from cnnrun.engine.validation import evaluation_batch_size
from cnnrun.errors import UserError
from cnnrun.evaluation import scoring as evaluation
from cnnrun.runtime import console
from cnnrun.runtime.container import cores
from cnnrun.runtime.paths import expanded

# Values up to this one need no 16 bits.
_WHITE_OF_8_BITS = 255


@dataclass(frozen=True)
class Answers:
    """The model's predictions for the images of a batch.

    files: N paths, or `image 0` ... of images that come from no file.
    images: (N, C, H, W) uint8, as given to the model before normalization. sizes: N original
    (height, width).
    answers: by name (N, ...), as the task's `answers`; {} where N is 0.
    bad: files of the batch that could not be decoded.
    """

    files: list[str]
    images: Tensor
    sizes: list[tuple[int, int]]
    answers: dict[str, Array]
    bad: list[BadFile]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(N, K), by class, of a classifier."""
        return softmax(self.answers["outputs"]) if self.files else np.empty((0, 0))


def find_images(names: Iterable[str]) -> list[str]:
    """The files for `names` (files, folders, patterns such as `photos/**/*.jpg`), each once.

    A name without match stays in the list, so that it is reported as a missing file.

    Raises:
        UserError: it is a run directory, whose images are plots.
    """
    found: dict[str, None] = {}
    for name in names:
        try:
            found.update(dict.fromkeys(_meant_by(name)))
        except (OSError, ValueError):  # no valid file name
            found[name] = None
    return list(found)


def _meant_by(name: str) -> list[str]:
    if not name:
        return [name]
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
    parts: Parts, files: Sequence[GivenImage], batch_size: int | None = None
) -> Iterator[Answers]:
    """The model's predictions for images, batch by batch, while the next ones are decoded.

    parts: of a trained network; images are converted to its data set's format. files: paths, or
    images in memory. batch_size: None: as in evaluation.

    Raises:
        UserError: something in `files` is not an image of any kind.
    """
    form = form_of(parts)
    bad: dict[int, str] = {}
    dark: list[int] = []
    sizes: dict[int, tuple[int, int]] = {}

    def decode(indices: Tensor) -> Tensor:
        images, numbers = empty_images(len(indices), form), indices.tolist()

        def read(row: int) -> None:
            try:
                image = opened(files[numbers[row]], form.reading, form.channels)
                frame_opened(image, form, images[row : row + 1])
                sizes[numbers[row]] = image.size
                if form.reading.high is None and 0 < (image.highest() or 0) <= _WHITE_OF_8_BITS:
                    dark.append(numbers[row])
            except UnreadableError as error:
                bad[numbers[row]] = str(error)
            except MemoryError:
                bad[numbers[row]] = "takes more memory than there is"

        for_each(read, range(len(numbers)), cores())
        return images

    size = batch_size or evaluation_batch_size(parts)
    batches = torch.split(torch.arange(len(files)), size)
    for indices, images in zip(batches, prefetch(decode, batches), strict=True):
        good = [row for row, index in enumerate(indices.tolist()) if index not in bad]
        kept = images[good]
        chosen = [int(indices[row]) for row in good]
        yield Answers(
            [_name(files[i], i) for i in chosen],
            kept,
            [sizes[i] for i in chosen],
            answers_for(parts, kept),
            [BadFile(_name(files[i], i), bad[i]) for i in indices.tolist() if i in bad],
        )
    if dark:
        first = _name(files[min(dark)], min(dark))
        console.warn(
            f"{first}: {len(dark):,} images of 16 bits or more have no value above 255, and so are "
            "nearly black here; if 255 is white, save them with 8 bits"
        )


def _name(image: GivenImage, index: int) -> str:
    return fspath(image) if isinstance(image, (str, PathLike)) else f"image {index}"


def predict_images(parts: Parts, images: Tensor) -> npt.NDArray[np.float64]:
    """The probabilities (N, K) of images (N, C, H, W) uint8 in the model's format.

    Raises:
        UserError: the model gives none.
    """
    probabilities = _PROBABILITIES.get(parts.task.targets)
    if probabilities is None or not parts.task.answers_images:
        raise UserError(f"task {parts.experiment.task.name} gives no probabilities of classes")
    if not len(images):
        return np.empty((0, len(parts.dataset.classes)))
    return probabilities(answers_for(parts, images)["outputs"])


# For exclusive classes, and for labels that are not exclusive.
_PROBABILITIES = {"labels": softmax, "label_sets": sigmoid}


def answers_for(parts: Parts, images: Tensor) -> dict[str, Array]:
    """The task's answers for images (N, C, H, W) uint8 in the model's format."""
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
    """The format of images in training: size, channels and resizing."""
    channels, height, width = parts.dataset.input_shape
    dataset = parts.experiment.dataset
    options = dataset.image_options()
    crop = options.crop_fraction
    return ImageFormat((height, width), channels, options.resize, options.reading, crop)


def masks_of(parts: Parts, answers: Answers) -> list[npt.NDArray[np.uint8]]:
    """For segmentation, the class of each pixel of each image: (H, W) uint8 in its original size.

    255 where the network saw nothing, outside a crop.
    """
    form, masks = form_of(parts), answers.answers.get("masks", ())
    return [
        restored_mask(torch.from_numpy(mask).to(torch.uint8), size, form).numpy()
        for mask, size in zip(masks, answers.sizes, strict=True)
    ]
