"""The interface for your own components: all that a plug-in needs, under stable names.

    from cnnrun.plugin import models

    @models.register("mine")
    class Mine(torch.nn.Module): ...

Other modules of cnnrun may move; imports from here keep working.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cnnrun.components.schedules import Annealed, Schedule
from cnnrun.components.tasks.classify import Classify
from cnnrun.components.tasks.metrics import softmax
from cnnrun.components.tasks.multilabel import Multilabel
from cnnrun.components.tasks.reconstruct import Reconstruct
from cnnrun.components.tasks.regress import Regress
from cnnrun.components.tasks.segment import Segment
from cnnrun.components.tasks.task import Predictions, Task
from cnnrun.components.tasks.training_step import TrainingStep
from cnnrun.data.augmentations.base import (
    Augmentation,
    Draws,
    Geometric,
    Mixing,
    Photometric,
    identity,
    per_image,
)
from cnnrun.data.augmentations.sampling import Sampler
from cnnrun.data.dataset import Dataset, Images, Split
from cnnrun.data.targets import Labels, LabelSets, Masks, Values
from cnnrun.errors import UserError
from cnnrun.metrics import Metric
from cnnrun.registry import (
    Named,
    Nested,
    activations,
    augmentations,
    datasets,
    initializers,
    loggers,
    losses,
    models,
    optimizers,
    plots,
    schedules,
    tasks,
)
from cnnrun.runs.loggers.logger import Logger, Row

if TYPE_CHECKING:
    from cnnrun.evaluation.trained_network import trained_network
    from cnnrun.plots.style import Figure, new_axes, new_figure, styled
    from cnnrun.plots.target import Target

# Imported at first use: a loss needs no matplotlib.
_LATER = {
    "Figure": "cnnrun.plots.style",
    "Target": "cnnrun.plots.target",
    "new_axes": "cnnrun.plots.style",
    "new_figure": "cnnrun.plots.style",
    "styled": "cnnrun.plots.style",
    "trained_network": "cnnrun.evaluation.trained_network",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"cnnrun.plugin has no '{name}'; it has {', '.join(__all__)}")


__all__ = [
    "Annealed",
    "Augmentation",
    "Classify",
    "Dataset",
    "Draws",
    "Figure",
    "Geometric",
    "Images",
    "LabelSets",
    "Labels",
    "Logger",
    "Masks",
    "Metric",
    "Mixing",
    "Multilabel",
    "Named",
    "Nested",
    "Photometric",
    "Predictions",
    "Reconstruct",
    "Regress",
    "Row",
    "Sampler",
    "Schedule",
    "Segment",
    "Split",
    "Target",
    "Task",
    "TrainingStep",
    "UserError",
    "Values",
    "activations",
    "augmentations",
    "datasets",
    "identity",
    "initializers",
    "loggers",
    "losses",
    "models",
    "new_axes",
    "new_figure",
    "optimizers",
    "per_image",
    "plots",
    "schedules",
    "softmax",
    "styled",
    "tasks",
    "trained_network",
]
