"""cnnrun from Python: `from cnnrun import train, evaluate, load_run, load_model`.

    run = train("configs/digits_cnn.yaml", "training.epochs=5")
    run.summary["test"]["accuracy"]
    run.show("confusion")
    model = load_model(run.path)
    model.predict(["photo.jpg"])

Mistakes raise `cnnrun.UserError` (`ConfigError` for a config), with the message that the command
line prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnrun import runner
from cnnrun.config.document import Document, read
from cnnrun.config.experiment import from_dict, load
from cnnrun.engine.parts import Parts
from cnnrun.errors import ConfigError, UserError, mistakes_of_user_code
from cnnrun.evaluation import scoring as evaluation
from cnnrun.evaluation.loading import open_checkpoint, open_trained
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.distributed import by_itself
from cnnrun.runtime.paths import expanded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cnnrun.data.images.given import GivenImage

AnyPath = str | PathLike[str]


@mistakes_of_user_code()
def train(
    experiment: AnyPath | Mapping[str, Any],
    *overrides: str,
    plugins: Iterable[AnyPath] = (),
    quiet: bool = False,
) -> Run:
    """Train an experiment and return its run.

    experiment: a YAML file, the name of a shipped config (`digits_cnn`), or the same as a dict.
    overrides: changes to it, as on the command line, e.g. `"optimizer.lr=0.1"`.
    plugins: Python files that register components.
    quiet: print no progress. By default it goes to stderr, which a notebook shows below the cell.

    Raises:
        ConfigError: all mistakes in the experiment. UserError: data or device are not available, or
        training diverged; what was saved stays.
    """
    files = _files(plugins)
    if isinstance(experiment, Mapping):
        values = {"name": "experiment", **experiment}
        checked = from_dict(values, "the experiment", overrides, files)
    else:
        checked = load(expanded(experiment), overrides, files)
    return Run(runner.train(checked, quiet))


@mistakes_of_user_code()
def evaluate(
    target: AnyPath, split: str = "test", *overrides: str, plugins: Iterable[AnyPath] = ()
) -> dict[str, Any]:
    """Score a run's best checkpoint, or a checkpoint file, on a split of its data.

    split: `train`, `validation` or `test`.
    overrides: changes to the stored experiment, e.g. `"dataset.root=/data"`.

    Returns:
        what `cnnrun eval --json` prints: for a classifier `accuracy`, `loss`, `top5` and `ece`
        (expected calibration error of 15 bins, Guo et al. 2017) in 0..1 (the loss is in nats),
        `trained_on` (how many of the samples were trained on, None if an older checkpoint does not
        say), `per_class`, `confusion` (K rows of true by K columns of predicted class).

    Raises:
        UserError: no checkpoint, no such split, or data that do not fit it.
    """
    if split not in ("train", "validation", "test"):
        raise UserError(f"split: expected train, validation or test, got '{split}'")
    plugin_files = _files(plugins)
    with by_itself():
        _, parts, checkpoint = open_checkpoint(expanded(target), overrides, plugin_files, True)
        said = evaluation.data_said(parts, split, checkpoint)
        return evaluation.evaluate(parts, split)[1] | {"trained_on": said.trained_on}


def load_run(path: AnyPath) -> Run:
    """The run in a run directory, finished or not.

    Raises:
        UserError: there is no run; if there are runs below it, the message names the newest.
    """
    return Run(RunDirectory.find(expanded(path)))


@mistakes_of_user_code()
def load_model(
    target: AnyPath, *, plugins: Iterable[AnyPath] = (), device: str = "auto"
) -> TrainedModel:
    """The trained network of a run (its best checkpoint) or of a checkpoint file, without its data.

    plugins: those that it was trained with; a checkpoint alone never decides which code runs.
    device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UserError: no checkpoint, missing plug-ins, or no such device.
    """
    return TrainedModel(open_trained(expanded(target), _files(plugins), device)[1])


@dataclass(frozen=True)
class Run:
    """A run directory, read only."""

    directory: RunDirectory

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def config(self) -> dict[str, Any]:
        """The complete experiment, with all defaults."""
        return dict(read(self.directory.config).values)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row per epoch, e.g. `{"epoch": 1, "train_loss": ..., "validation_accuracy": ...}`.

        `pandas.DataFrame(run.metrics)` makes a table of it.
        """
        return self.directory.read_metrics()

    @property
    def summary(self) -> dict[str, Any]:
        """Best epoch, test scores, speed (images per second); {} until the run has finished."""
        return self.directory.read_summary()

    def model(self, *, plugins: Iterable[AnyPath] = (), device: str = "auto") -> TrainedModel:
        """The network with the weights of the best epoch; see `load_model`."""
        return load_model(self.path, plugins=plugins, device=device)

    def evaluate(
        self, split: str = "test", *overrides: str, plugins: Iterable[AnyPath] = ()
    ) -> dict[str, Any]:
        """Scores on a split; see `evaluate`."""
        return evaluate(self.path, split, *overrides, plugins=plugins)

    @mistakes_of_user_code()
    def show(self, plot: str, *, plugins: Iterable[AnyPath] = (), **parameters: Any) -> Figure:
        """Draw a plot of the run, e.g. `show("confusion")` or `show("filters", layer="...")`.

        A notebook shows the returned figure; `figure.savefig("x.png")` writes it.

        plot: `cnnrun list plot` shows all, `cnnrun list plot NAME` the parameters of one.

        Raises:
            ConfigError: no such plot or parameter.
            UserError: the run lacks what the plot shows.
        """
        from cnnrun.plots import figure_of
        from cnnrun.plots.style import shown_inline
        from cnnrun.plots.target import Target

        document = Document(f"show({plot!r})", {"name": plot, **parameters})
        target = Target(self.path, plugins=_files(plugins))
        return shown_inline(figure_of(plot, target, document))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


class TrainedModel:
    """A trained network with its classes and its preprocessing; it stays in eval mode."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.module: nn.Module = parts.model.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """`classes[k]` is the name of output `k`."""
        return self._parts.dataset.classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self._parts.dataset.input_shape

    @property
    def device(self) -> torch.device:
        return self._parts.device

    def normalize(self, images: Tensor) -> Tensor:
        """Images as inputs of the network: `(x / 255 - mean) / std` with the training's values.

        images: (N, C, H, W) uint8 in 0..255, or float32 in 0..1.
        Returns: (N, C, H, W) float32 on the model's device.
        """
        return self._parts.pipeline.normalize(images.to(self.device))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Any:
        """The network's output for images (N, C, H, W) as in `normalize`, which it includes.

        Returns: logits (N, K) of a classifier, or an autoencoder's `Reconstruction`.
        """
        return self.module(self.normalize(images))

    def probabilities(self, images: Tensor) -> npt.NDArray[np.float64]:
        """The probability of each class: (N, K) float64; for exclusive classes rows sum to 1.

        images: (N, C, H, W) uint8 of `input_shape`.

        Raises:
            UserError: the images have another shape or type, or the model gives no probabilities.
        """
        from cnnrun.evaluation.prediction import predict_images

        if images.dtype != torch.uint8 or images.shape[1:] != self.input_shape:
            wanted = " x ".join(map(str, self.input_shape))
            got = " x ".join(map(str, images.shape))
            raise UserError(f"expected uint8 images N x {wanted}, got {images.dtype} {got}")
        return predict_images(self._parts, images)

    def predict(self, images: GivenImage | Iterable[GivenImage], top: int = 5) -> Any:
        """The network's predictions for images, which are prepared as in training.

        images: one image of Pillow, an image file's bytes, or it opened for reading, or an array
            (H, W) or (H, W, C) of uint8, of floats in 0..1, or of values in the run's
            `dataset.range`, or a list of them; or image files, folders and patterns. Arrays have 1,
            3 or 4 channels, or those of `input_shape` if these are others.
        top: classes of each image.

        Returns: the prediction for one image, a list of predictions for a list, a dict of
            predictions by path for paths. For a classifier, a prediction is a list of its `top`
            likeliest (class, probability), most likely first; for other tasks the same dict as in
            `cnnrun predict --json`, with arrays: `mask` (H, W) uint8 of a segmentation, in the
            image's own size; `image` (C, H, W) float32 in 0..1 and `code` (D,) of an autoencoder.

        Raises:
            BadImageError: an image can't be decoded; its `files` say which and why.
            UserError: something is not an image, an array has another shape or type, or there is no
                image in the folders.
        """
        from cnnrun.data.images.decoding import BadImageError
        from cnnrun.data.images.given import is_one
        from cnnrun.evaluation.answering import plain_answers
        from cnnrun.evaluation.prediction import find_images, predict_files

        if isinstance(images, Mapping):
            raise UserError("expected an image, or a list of images, got a dict")
        paths = isinstance(images, str | PathLike)
        several: list[Any] = [images] if paths or is_one(images) else list(images)  # type: ignore[arg-type]
        by_path = all(isinstance(image, str | PathLike) for image in several)
        given = find_images(map(str, several)) if by_path else several
        if several and not given:
            raise UserError(f"{', '.join(map(str, several))}: there is no image")
        found: list[Any] = []
        for answers in predict_files(self._parts, given):
            if answers.bad:
                raise BadImageError(answers.bad)
            found += plain_answers(self._parts, answers, top)
        if by_path:
            return dict(zip(given, found, strict=True))
        return found[0] if is_one(images) else found

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        return f"TrainedModel({type(self.module).__name__}, {shape}, {len(self.classes)} classes)"


def _files(plugins: AnyPath | Iterable[AnyPath]) -> list[str]:
    """A single file is treated as a list of one."""
    if isinstance(plugins, str | PathLike):
        return [str(plugins)]
    return [str(file) for file in plugins]


__all__ = [
    "ConfigError",
    "Run",
    "TrainedModel",
    "UserError",
    "evaluate",
    "load_model",
    "load_run",
    "train",
]
