"""A run's state as a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from cnnrun.components.schedules import Schedule
from cnnrun.data.identity import record
from cnnrun.engine.optimizer_state import check_optimizer_state, with_groups_that_unfreeze
from cnnrun.engine.parts import Parts
from cnnrun.engine.progress import Progress
from cnnrun.engine.stepper import Stepper
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.weights import load_weights
from cnnrun.version import __version__


def snapshot(
    parts: Parts,
    stepper: Stepper,
    schedule: Schedule,
    progress: Progress,
    code: dict[str, str] | None = None,
) -> Checkpoint:
    """All that a run needs to resume: a checkpoint of the current state.

    code: `code_of` the experiment at the start of training.
    """
    progress.accumulate = stepper.accumulate
    raw = {key: _alone(value) for key, value in parts.model.state_dict().items()}
    average = stepper.average
    weights = raw
    if average:
        with average.applied():
            weights = {key: value.clone() for key, value in parts.model.state_dict().items()}
    return Checkpoint(
        model=weights,
        raw=raw if average else {},
        config=_config(parts),
        classes=list(parts.dataset.classes),
        class_counts=parts.dataset.class_counts.tolist(),
        input_shape=list(parts.dataset.input_shape),
        data=record(parts.dataset),
        code=code,
        task=parts.task.state(),
        normalization=parts.normalization,
        schedule=schedule.state_dict(),
        progress=asdict(progress),
        versions={"cnnrun": __version__, "torch": str(torch.__version__)},
        **stepper.state_dict(),
    )


def _config(parts: Parts) -> dict[str, Any]:
    """The experiment, with transfer presets expanded for its model."""
    config = parts.experiment.to_dict()
    if parts.transfer:
        config["transfer"] = parts.transfer.model_dump() | {"case": None}
    return config


def take_over(checkpoint: Checkpoint, parts: Parts, stepper: Stepper, schedule: Schedule) -> None:
    """Restore all of them from what `snapshot` took; what trained then already trains."""
    if stepper.average:
        # The average first: both are loaded through the model's own tensors.
        load_weights(parts.model, checkpoint.model)
        stepper.average.restart(checkpoint.progress.get("averaged", 0))
    load_weights(parts.model, checkpoint.raw or checkpoint.model)
    optimizer = with_groups_that_unfreeze(stepper.optimizer, checkpoint.optimizer)
    check_optimizer_state(stepper.optimizer, optimizer)
    stepper.load_state_dict({"optimizer": optimizer, "scaler": checkpoint.scaler})
    if checkpoint.config["schedule"]["name"] == parts.experiment.schedule.name:
        schedule.load_state_dict(checkpoint.schedule)  # another's state has another meaning


def _alone(value: torch.Tensor) -> torch.Tensor:
    """`value`, copied if it is a view: the file would contain the whole base tensor."""
    return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value


def first_infinite(model: nn.Module) -> str | None:
    """The name of a weight or statistic that is infinite or NaN; None if all are finite."""
    state = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    if not state:
        return None
    # One host sync, not one per tensor.
    good = torch.stack([value.isfinite().all() for value in state.values()])
    if bool(good.all()):
        return None
    return list(state)[int((~good).nonzero()[0])]
