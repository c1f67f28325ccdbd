"""What the runs of a sweep or study can be compared by, decided before any is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from cnnrun import registry
from cnnrun.config.experiment import Experiment
from cnnrun.errors import UserError, did_you_mean
from cnnrun.metrics import Metric

if TYPE_CHECKING:
    from cnnrun.components.tasks import Task


def task_of(experiment: Experiment) -> type[Task]:
    """The class of the experiment's task."""
    return cast("type[Task]", registry.tasks.get(experiment.task.name).factory)


def ranking_metric(experiments: Sequence[Experiment], wanted: str) -> Metric:
    """The metric that ranks trials on the validation split, the same for all of them.

    wanted: a metric, or `auto`: what chooses their epochs, or the task's main metric if monitors
    differ, or if it is the loss and the losses are different functions.

    Raises:
        UserError: no such metric, or none by which the trials can be compared.
    """
    task = task_of(experiments[-1])
    if wanted != "auto":
        metric = task.ranks_by(wanted)
        check_losses(experiments, metric)
        return metric
    monitors = {experiment.training.monitor for experiment in experiments}
    usual = monitors.pop() if len(monitors) == 1 else "auto"
    metrics = [task.ranks_by(usual)]
    for name in dict.fromkeys(
        (task.monitor, task.main_metric or task.monitor, *task.epoch_metrics)
    ):
        if task.metric(name).higher_is_better is not None and name in task.epoch_metrics:
            metrics.append(task.metric(name))
    alike = not losses_differ(experiments)
    found = next((metric for metric in metrics if alike or not metric.of_the_loss), None)
    if found is None:
        check_losses(experiments, metrics[0])
    assert found
    return found


def check_metric(experiments: Sequence[Experiment], wanted: str) -> None:
    """Refuse a metric that the runs of a study will not have, or that is not comparable.

    Raises:
        UserError: with what they can be compared by.
    """
    name = wanted.partition(":")[0]
    declared = task_of(experiments[0]).declared()
    if name not in declared:
        hint = did_you_mean(name, declared) or f"; there are {', '.join(declared)}"
        raise UserError(f"'{name}' is not measured{hint}")
    check_losses(experiments, declared[name])


def check_losses(experiments: Sequence[Experiment], metric: Metric) -> None:
    """Refuse to compare by the loss if the losses are different functions.

    Raises:
        UserError: with what to compare by instead.
    """
    if not metric.of_the_loss or not losses_differ(experiments):
        return
    declared = task_of(experiments[0]).declared().values()
    others = [m.name for m in declared if m.higher_is_better is not None and not m.of_the_loss]
    instead = f"; use {', '.join(others)}" if others else ""
    raise UserError(
        f"runs of different losses can't be compared by '{metric.name}': values of different "
        f"losses say nothing about one another{instead}"
    )


def losses_differ(experiments: Sequence[Experiment]) -> bool:
    """Whether the losses are different functions: their sections, or the weight of a penalty."""
    losses = [(one.loss.model_dump(), getattr(one.model, "beta", None)) for one in experiments]
    return any(loss != losses[0] for loss in losses)
