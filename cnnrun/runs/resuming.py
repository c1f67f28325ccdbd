"""Going on with a run: which of its settings may change, and finding the one that was begun."""

from __future__ import annotations

from typing import Any

from cnnrun.config.document import flattened, read
from cnnrun.config.experiment import Experiment
from cnnrun.data.dataset import Dataset
from cnnrun.engine.build_optimizer import build_lr_schedule
from cnnrun.errors import ConfigError, UserError
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime import console
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.weights import some

# What a checkpoint's state means something under: the rest may change.
FIXED = (
    *("task", "seed", "model", "initializer", "transfer", "optimizer.name"),
    *("dataset.name", "dataset.batch_size", "dataset.limit", "dataset.per_class", "dataset.fold"),
    *("dataset.validation", "dataset.size", "dataset.resize", "dataset.channels"),
    *("dataset.normalize", "training.ema"),
)
# Where a run happens is not what it is.
_ELSEWHERE = ("output", "device")


def differences(before: Experiment, now: Experiment) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both values; None where there is none."""
    old, new = flattened(before.to_dict()), flattened(now.to_dict())
    keys = dict.fromkeys([*old, *new])
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


def allow(changes: dict[str, tuple[Any, Any]], run: RunDirectory) -> None:
    """Tell what changed, on stderr.

    Raises:
        ConfigError: something changed that the state of the run depends on.
    """
    told = {key: f"{key}: {old} -> {new}" for key, (old, new) in changes.items()}
    fixed = [key for key in told if any(key == f or key.startswith(f"{f}.") for f in FIXED)]
    if fixed:
        raise ConfigError(
            f"a run can't go on with another {', '.join(told[key] for key in fixed)}; begin a new "
            f"one: cnnrun train {run.config} " + " ".join(f"{k}={changes[k][1]}" for k in fixed)
        )
    for text in told.values():
        console.warn(f"changed  {text}")


def check_data(dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Refuse other data than the run began with.

    Raises:
        UserError: other classes, or other numbers of training images.
    """
    if list(dataset.classes) != checkpoint.classes:
        raise UserError(
            f"the run began with {len(checkpoint.classes)} classes ({some(checkpoint.classes)}); "
            f"the data now have {len(dataset.classes)} ({some(dataset.classes)})"
        )
    counts = dataset.class_counts.tolist()
    if counts != checkpoint.class_counts:
        k = next(i for i, n in enumerate(counts) if n != checkpoint.class_counts[i])
        raise UserError(
            f"the training data have changed since the run began: class '{dataset.classes[k]}' "
            f"has {counts[k]:,} images instead of {checkpoint.class_counts[k]:,}"
        )


def tell_learning_rate(before: Experiment, now: Experiment, step: int, per_epoch: int) -> None:
    """Say on stderr how the learning rate goes on where the schedule or its length changed."""
    old, new = (
        getattr(e.optimizer, "lr", 1.0) * build_lr_schedule(e, per_epoch).factor(step)
        for e in (before, now)
    )
    if old != new:
        console.warn(
            f"the {now.schedule.name} schedule is that of {now.training.epochs} epochs from here "
            f"on: the learning rate goes on at {new:g} instead of {old:g}",
        )


def begun(experiment: Experiment) -> RunDirectory | None:
    """The newest run of this very experiment below its output folder."""
    wanted = _identity(experiment.to_dict())
    folder = expanded(experiment.output) / experiment.name
    for file in sorted(folder.glob("*/config.yaml"), reverse=True):
        try:
            found = read(file).values
        except ConfigError:
            continue  # a stranger's, or damaged: no obstacle
        if _identity(found) == wanted:
            return RunDirectory(file.parent)
    return None


def _identity(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _ELSEWHERE}
