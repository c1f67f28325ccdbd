"""A trained network without its data: what predicting, exporting and the Python API open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from cnnrun.config.experiment import from_dict
from cnnrun.data.dataset import Dataset, Split
from cnnrun.engine.build import rebuild
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation.foreign_code import refuse_foreign_code
from cnnrun.runs.checkpoint import Checkpoint, find_checkpoint


def open_trained(
    target: Path, plugins: Iterable[str] = (), device: str = "auto"
) -> tuple[Path, Parts, Checkpoint]:
    """The parts of a run (its best checkpoint) or of a checkpoint file; the data stay unread.

    The data set of these parts knows the classes and the form of a picture, and has no samples.

    device: as in a config; `auto`, and not where the run was trained, as that may be elsewhere.

    Raises:
        UserError: no checkpoint, one that needs plug-ins that are not named, or no such device.
    """
    file = find_checkpoint(target)
    checkpoint = Checkpoint.load(file)
    plugins = list(plugins)
    stored = {**checkpoint.config, "device": device}
    refuse_foreign_code(file, stored, plugins, None)
    experiment = from_dict(stored, f"{file} (config)", (), plugins)
    if experiment.task.name == "stylize":
        raise UserError(f"{target}: style transfer trains one picture; there is no network in it")
    return file, rebuild(checkpoint, experiment, _without_samples(checkpoint)), checkpoint


def _without_samples(checkpoint: Checkpoint) -> Dataset:
    images = torch.empty((0, *checkpoint.input_shape), dtype=torch.uint8)
    none = Split(images, torch.empty(0, dtype=torch.int64))
    return Dataset(tuple(checkpoint.classes), none, none)
