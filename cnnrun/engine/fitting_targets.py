"""Whether the targets of data are those that a task learns, and leave it anything to learn."""

from __future__ import annotations

from collections.abc import Sequence

from cnnrun import registry
from cnnrun.components.tasks.task import Task
from cnnrun.config.experiment import Experiment
from cnnrun.data.dataset import Dataset
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import Labels, LabelSets, Masks
from cnnrun.runtime.weights import some


def refuse_other_targets(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse data whose targets are of another kind than the task learns.

    Raises:
        ConfigError: with the place of the data set.
    """
    task = _task(experiment.task.name)
    wanted = "labels" if task.targets == "pixels" else task.targets
    found = dataset.train.targets.kind
    if found == wanted:
        return
    message = f"these data have {found.replace('_', ' ')}, and task {experiment.task.name} needs "
    message += wanted.replace("_", " ")
    if "targets" in type(experiment.dataset).model_fields:
        raise experiment.error(["dataset"], f"{message}: dataset.targets={wanted}")
    able = [name for name in registry.tasks.names() if _task(name).targets == found]
    raise experiment.error(["task"], f"{message}; for such data use task {' or '.join(able)}")


def refuse_nothing_to_learn(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse data that a network predicts perfectly without looking: it would score 100 %.

    Raises:
        ConfigError: with the place of the data set.
    """
    if _task(experiment.task.name).targets == "pixels":
        return
    if why := _always_the_same(dataset.train.targets, dataset.classes):
        found = "".join(f"\n{note}" for note in dataset.notes)
        raise experiment.error(["dataset"], f"{why}{found}")


def _always_the_same(targets: Targets, names: Sequence[str]) -> str:
    """Why all training images have one and the same answer; "" where they have not.

    Of values the task knows, which measures how far they spread.
    """
    counts = targets.counts(len(names))
    if isinstance(targets, Labels) and len(names) < 2:
        return f"there is only one class, '{names[0]}': nothing to classify"
    if isinstance(targets, LabelSets) and bool(((counts == 0) | (counts == len(targets))).all()):
        there = some([name for name, count in zip(names, counts, strict=True) if count])
        return f"all training images have the same labels ({there or 'none'}): nothing to learn"
    if isinstance(targets, Masks) and int((counts > 0).sum()) < 2:
        if not counts.any():
            return f"no pixel of the training masks is of any class ({some(names)})"
        name = names[int(counts.argmax())]
        return f"all pixels of the training masks are of one class, '{name}': nothing to segment"
    return ""


def _task(name: str) -> type[Task]:
    factory: type[Task] = registry.tasks.get(name).factory  # type: ignore[assignment]
    return factory
