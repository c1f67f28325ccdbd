"""Resuming a run: from which checkpoint, with which changes, on which data.

Everything is only read and compared here; `record.py` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnrun.config.document import flattened, read
from cnnrun.config.experiment import Experiment, changed_copy, from_dict, load
from cnnrun.config.identity import Role, differences, role
from cnnrun.config.own_code import changed, code_of
from cnnrun.data.dataset import Dataset
from cnnrun.data.identity import difference
from cnnrun.data.targets import Masks
from cnnrun.errors import ConfigError, UserError
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.identity import recorded
from cnnrun.runtime import console
from cnnrun.runtime.weights import some

Changes = dict[str, tuple[Any, Any]]
"""Dotted keys, each with its old and new value."""


@dataclass(frozen=True)
class Saved:
    """The state that a run resumes from; both are None before the first checkpoint.

    best: the content of `best.pt`, if readable. newest_is_last: whether `last.pt` is the newest.
    notes: for the user.
    """

    newest: Checkpoint | None
    best: Checkpoint | None
    newest_is_last: bool = True
    notes: list[str] = field(default_factory=list)


def read_saved(run: RunDirectory) -> Saved:
    """The most advanced checkpoint: `best.pt` if `last.pt` is damaged, missing or older.

    A run may have been killed between writing the two.

    Raises:
        UserError: an unfinished run has no readable checkpoint.
    """
    read: dict[str, Checkpoint] = {}
    problems: dict[str, UserError] = {}
    for name in ("last", "best"):
        if run.checkpoint(name).is_file():
            try:
                read[name] = Checkpoint.load(run.checkpoint(name))
            except UserError as error:
                problems[name] = error
    last, best = read.get("last"), read.get("best")
    if not read and problems and not _is_finished(run):
        raise UserError("\n".join(map(str, problems.values())))
    if not read:
        return Saved(None, None, notes=[str(error) for error in problems.values()])
    notes = [str(error) for error in problems.values()]
    if best and (last is None or _steps(best) > _steps(last)):
        if last is None:
            gone = "" if "last" in problems else f"{run.checkpoint('last')}: there is no such file"
            notes = [*notes, *filter(None, [gone])]
            notes[-1] += f"; resuming from {run.checkpoint('best')} instead"
        return Saved(best, best, False, notes)
    return Saved(last, best, notes=notes)


def _steps(checkpoint: Checkpoint) -> int:
    steps = checkpoint.progress.get("step", 0)
    return steps if isinstance(steps, int) else 0


def _is_finished(run: RunDirectory) -> bool:
    return bool(run.read_summary())


def refuse_lost_checkpoints(run: RunDirectory) -> None:
    """A run may be killed before its first checkpoint, but not after several epochs.

    Raises:
        UserError: it has none, though it must have had one.
    """
    epochs = len(run.read_metrics())
    if epochs > 1 or (run.summary.is_file() and epochs):
        raise UserError(
            f"{run.path / 'checkpoints'}: the checkpoints of this run, which has trained {epochs} "
            f"epochs, are gone or damaged; start a new one: cnnrun train {run.config}"
        )


def changes_of(run: RunDirectory, experiment: Experiment, checkpoint: Checkpoint | None) -> Changes:
    """What `experiment` changes relative to the checkpoint, else to `config.yaml`.

    So a manually edited `config.yaml` counts as a change, like one on the command line.
    """
    if checkpoint is None:
        before = load(run.config, plugins=experiment.plugins)
    else:
        before = trained_as(checkpoint, run, experiment)
    return differences(before.to_dict(), experiment.to_dict())


def trained_as(checkpoint: Checkpoint, run: RunDirectory, experiment: Experiment) -> Experiment:
    """The experiment of `checkpoint`, with the code of `experiment`.

    A checkpoint never decides which code runs.
    """
    values = {**checkpoint.config, "plugins": list(experiment.plugins)}
    written = read(run.config).values.get("transfer")
    if isinstance(written, dict) and written.get("case"):
        values["transfer"] = written  # the checkpoint has the preset expanded for its model
    return from_dict(values, f"{run.path / 'checkpoints'} (config)")


def code_changes(
    run: RunDirectory, experiment: Experiment, checkpoint: Checkpoint | None
) -> list[str]:
    """Which of the user's own code has changed since training, as text."""
    code = recorded(run).get("code") if checkpoint is None else checkpoint.code
    return changed(code if isinstance(code, dict) else None, code_of(experiment.to_dict()))


def split_changes(changes: Changes, experiment: Experiment) -> tuple[Changes, Changes]:
    """Changes that take effect, and those that have none on a resumed run."""
    flat = flattened(experiment.to_dict())
    without = {key: both for key, both in changes.items() if role(key, flat) is Role.START}
    return {key: both for key, both in changes.items() if key not in without}, without


def as_started(experiment: Experiment, without: Changes) -> Experiment:
    """`experiment` with the old values of settings that no longer have an effect."""
    changes: dict[str, Any] = {}
    for key, (old, _) in without.items():
        section, _, inner = key.partition(".")
        if inner:
            changes.setdefault(section, {})[inner] = old
        else:
            changes[section] = old
    return changed_copy(experiment, changes)


def refuse_fixed(changes: Changes, run: RunDirectory, experiment: Experiment) -> None:
    """Raise a `ConfigError` if a setting changed that the run's state depends on."""
    flat = flattened(experiment.to_dict())
    fixed = [key for key in changes if role(key, flat) is Role.FIXED]
    # With another component, all parameters differ: its name is enough.
    renamed = {key.removesuffix("name") for key in fixed if key.endswith(".name")}
    fixed = [k for k in fixed if k.endswith(".name") or not k.startswith(tuple(renamed))]
    if fixed:
        changed = ", ".join(to_text(key, changes) for key in fixed)
        new = " ".join(f"{key}={changes[key][1]}" for key in fixed)
        raise ConfigError(
            f"a run can't be resumed with another {changed}; start a new one: "
            f"cnnrun train {run.config} {new}"
        )


def to_text(key: str, changes: Changes) -> str:
    old, new = changes[key]
    return f"{key}: {old} -> {new}"


def refuse_nothing_to_train(run: RunDirectory, changes: Changes, epochs: int, asked: int) -> None:
    """Say that no epoch is left for changes to take effect.

    epochs: number trained. asked: `training.epochs`.
    """
    changed = ", ".join(to_text(key, changes) for key in changes)
    state = "is finished" if run.summary.is_file() else "has trained all of its epochs"
    further = f"training.epochs={max(asked, epochs) + 1} or more"
    if epochs < asked:
        state = f"was stopped by training.patience after epoch {epochs}"
        further = "A longer training.patience"
    raise UserError(
        f"{run.path} {state}, so nothing is left to train with {changed}; nothing was changed. "
        f"{further} trains further"
    )


_REMEDY = "start a new run, or bring back the data it was trained on"


def check_data(dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Refuse other data than the run started with.

    Raises:
        UserError: other classes, other numbers of training images, or other images.
    """
    if list(dataset.classes) != checkpoint.classes:
        raise UserError(
            f"the run started with {len(checkpoint.classes)} classes ({some(checkpoint.classes)}); "
            f"the data now have {len(dataset.classes)} ({some(dataset.classes)}); {_REMEDY}"
        )
    counts = dataset.class_counts.tolist()
    if counts != checkpoint.class_counts:
        unit = "pixels" if isinstance(dataset.train.targets, Masks) else "images"
        k = next(i for i, n in enumerate(counts) if n != checkpoint.class_counts[i])
        raise UserError(
            f"the training data have changed since the run started: class '{dataset.classes[k]}' "
            f"has {counts[k]:,} {unit} instead of {checkpoint.class_counts[k]:,}; {_REMEDY}"
        )
    changed = difference(dataset, checkpoint.data)
    if changed:
        raise UserError(f"the data have changed since the run started: {changed}; {_REMEDY}")


def lacking_rows(rows: Mapping[int, dict[str, Any]], epochs: int, steps: int) -> list[int]:
    """The epochs that the log lacks, or has with another number of steps.

    steps: per epoch.
    """
    return [
        epoch
        for epoch in range(1, epochs + 1)
        if epoch not in rows or rows[epoch].get("step", epoch * steps) != epoch * steps
    ]


def notify(notes: Iterable[str]) -> None:
    for note in notes:
        console.warn(note)
