"""The parts of a built experiment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cnnrun.components.tasks import Task
from cnnrun.config.experiment import Experiment
from cnnrun.data.dataset import Dataset
from cnnrun.data.images.framing import RandomCrop
from cnnrun.data.pipeline import Pipeline
from cnnrun.models.trainable import Trainable
from cnnrun.models.transfer import Transfer
from cnnrun.runs.checkpoint import Normalization


@dataclass(frozen=True)
class Parts:
    """The parts of an experiment, ready to compute on `device`."""

    experiment: Experiment
    device: torch.device
    task: Task
    dataset: Dataset
    normalization: Normalization
    crop: RandomCrop | None
    pipeline: Pipeline
    model: nn.Module
    loss: nn.Module
    trainable: Trainable
    # The experiment's `transfer` for this model, presets expanded.
    transfer: Transfer | None = None
    # Notes for the user about the initial weights.
    notes: tuple[str, ...] = ()
