"""What a plot is drawn of: an experiment, a run or a checkpoint, opened as far as needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnrun.components.tasks import Predictions
from cnnrun.components.tasks.classify import Classify
from cnnrun.config.experiment import load
from cnnrun.config.plugins import load_plugins
from cnnrun.config.shipped import names_experiment
from cnnrun.data.dataset import Split
from cnnrun.engine.build import build
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation import scoring as evaluation
from cnnrun.evaluation.label_errors import Suspects, suspects
from cnnrun.evaluation.loading import open_checkpoint, open_trained
from cnnrun.metrics import Metric, read_metrics
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime import console


@dataclass
class Opened:
    """Parts, and whether their weights are trained ones."""

    parts: Parts
    trained: bool


class Target:
    """An experiment (`.yaml` or a name), a run directory or a checkpoint (`.pt`) to draw from."""

    def __init__(
        self,
        path: Path,
        overrides: Iterable[str] = (),
        plugins: Iterable[str] = (),
        opened: Opened | None = None,
        predictions: dict[str, Predictions] | None = None,
    ) -> None:
        self.path, self._overrides, self._plugins = path, list(overrides), list(plugins)
        self._opened_before, self._predictions = opened, dict(predictions or {})
        load_plugins(self._plugins)  # the plot itself may be one of theirs
        # Known before the run has its summary, while it draws its own plots.
        self.best_epoch: int | None = None

    @cached_property
    def run(self) -> RunDirectory:
        """The run directory, for what is drawn from its log.

        Raises:
            UserError: the target is a config or a lone checkpoint.
        """
        return RunDirectory.find(self.path)

    @cached_property
    def _opened(self) -> Opened:
        if self._opened_before:
            return self._opened_before
        if names_experiment(self.path):
            return Opened(build(load(self.path, self._overrides, self._plugins)), trained=False)
        _, parts, _ = open_checkpoint(self.path, self._overrides, self._plugins)
        return Opened(parts, trained=True)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What the run's task declared, by name; its own summary says so once it has ended."""
        if self._opened_before:
            return self._opened_before.parts.task.declared()
        return read_metrics(self.run.read_summary().get("metrics"))

    @property
    def parts(self) -> Parts:
        return self._opened.parts

    @cached_property
    def model(self) -> nn.Module:
        """The network; of a run or checkpoint without its data, which need not be there."""
        if self._opened_before or self._overrides or names_experiment(self.path):
            return self.parts.model
        return open_trained(self.path, self._plugins)[1].model

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(name or "(no name)" for name in self.parts.dataset.classes)

    def predictions(self, split: str = "test") -> Predictions:
        """The trained model's answers on a split.

        Raises:
            UserError: the target is an experiment that has not been trained.
        """
        if not self._opened.trained:
            raise UserError(f"{self.path}: this plot needs a trained model; name a run")
        if split not in self._predictions:
            self._predictions[split] = evaluation.predict(self.parts, split)
        return self._predictions[split]

    def logits(self, split: str = "test") -> npt.NDArray[np.float32]:
        """What a trained classifier gives for the samples of a split: (N, K).

        Raises:
            UserError: the target is no trained classifier.
        """
        if self._opened.trained:
            self.check_classifies()
        found: npt.NDArray[np.float32] = self.predictions(split).answers["outputs"]
        return found

    @cached_property
    def suspects(self) -> Suspects:
        """Likely label errors, of a run or of a cross-validation's folder."""
        return suspects(self.path, self._overrides, self._plugins)[0]

    def check_classifies(self) -> None:
        """Raise a `UserError` unless the task is to predict one of several classes."""
        if not isinstance(self.parts.task, Classify):
            raise UserError(f"{self.path}: this plot needs a classifier (task: classify)")

    def split(self, name: str) -> Split:
        """The split called `name`.

        Raises:
            UserError: it has no samples.
        """
        split = self.parts.dataset.split(name)
        if not len(split):
            raise UserError(f"the {name} split of this experiment is empty")
        return split


def as_floats(images: Tensor) -> npt.NDArray[np.float32]:
    """(N, C, H, W) uint8 to float32 0..1 as the drawing functions want them: 1 or 3 channels.

    Of other images the first three channels, or the first of two, stand for all.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        shown = 3 if channels > 3 else 1
        words = "three as red, green and blue" if shown == 3 else "one"
        _say_once(f"images of {channels} channels: plots show the first {words}")
        images = images[:, :shown]
    return images.cpu().to(torch.float32).div(255).numpy()


@lru_cache(maxsize=8)
def _say_once(text: str) -> None:
    console.warn(text)
