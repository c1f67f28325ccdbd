"""What a step is and what is measured: one file a task."""

from cnnrun.components.tasks import classify, reconstruct, regress, stylize
from cnnrun.components.tasks.task import Predictions, Task

__all__ = ["Predictions", "Task", "classify", "reconstruct", "regress", "stylize"]
