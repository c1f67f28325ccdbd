"""A run's state at one instant, as a checkpoint."""

from __future__ import annotations

from dataclasses import asdict

import torch

from cnnrun.components.schedules import Schedule
from cnnrun.data.identity import record
from cnnrun.engine.parts import Parts
from cnnrun.engine.progress import Progress
from cnnrun.engine.stepper import Stepper
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.version import __version__


def snapshot(parts: Parts, stepper: Stepper, schedule: Schedule, progress: Progress) -> Checkpoint:
    """All that a run needs to go on: a checkpoint of this instant."""
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
        config=parts.experiment.to_dict(),
        classes=list(parts.dataset.classes),
        class_counts=parts.dataset.class_counts.tolist(),
        input_shape=list(parts.dataset.input_shape),
        data=record(parts.dataset),
        normalization=parts.normalization,
        schedule=schedule.state_dict(),
        progress=asdict(progress),
        versions={"cnnrun": __version__, "torch": str(torch.__version__)},
        **stepper.state_dict(),
    )


def _alone(value: torch.Tensor) -> torch.Tensor:
    """`value` itself, or a copy where it is a view: a file would hold all that it is a view of."""
    return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
