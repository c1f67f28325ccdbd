"""What a step is and what is measured: one file a task."""

from cnnrun.tasks import classify
from cnnrun.tasks.task import Task

__all__ = ["Task", "classify"]
