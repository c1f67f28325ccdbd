"""What a training step computes and what is measured: one file per task."""

from cnnrun.components.tasks import classify, multilabel, reconstruct, regress, segment, stylize
from cnnrun.components.tasks.task import Predictions, Task

__all__ = [
    "Predictions",
    "Task",
    "classify",
    "multilabel",
    "reconstruct",
    "regress",
    "segment",
    "stylize",
]
