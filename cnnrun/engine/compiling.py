"""`training.compile` and `sync_batch_norm`: the model's step for GPUs."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch import nn

from cnnrun.config.experiment import Experiment
from cnnrun.runtime.distributed import synchronize_norms, world


def convert_norms(model: nn.Module, experiment: Experiment, device: torch.device) -> None:
    """Let batch normalization use all processes' batch if `sync_batch_norm` is set.

    Raises:
        ConfigError: these are no GPUs.
    """
    if not experiment.training.sync_batch_norm or world().size == 1:
        return
    if device.type != "cuda":
        message = f"it works only between GPUs, and this is {device.type}; leave it out"
        raise experiment.error(["training", "sync_batch_norm"], message)
    synchronize_norms(model)


def compiled(model: nn.Module, experiment: Experiment, device: torch.device) -> nn.Module:
    """`model`, compiled or with its kernels recorded, as `training.compile` says.

    Raises:
        ConfigError: there is no compiler or no GPU to record for, or batches are split into pieces.
    """
    training = experiment.training
    if not training.compile:
        return model
    if training.compile is True:
        missing = _missing_compiler(device)
        if missing:
            raise experiment.error(["training", "compile"], missing)
        return torch.compile(model)  # type: ignore[return-value]
    if device.type != "cuda":
        message = f"cuda_graphs needs a CUDA GPU, and this is {device.type}; leave it out"
        raise experiment.error(["training", "compile"], message)
    if training.accumulate > 1 or training.auto_batch:
        # The second piece's replay would overwrite the first's gradients.
        key = "auto_batch" if training.auto_batch else "accumulate"
        raise experiment.error(["training", key], "cuda_graphs need each batch in one piece")
    return recorded(model)


def _missing_compiler(device: torch.device) -> str | None:
    """What torch needs to compile for `device` and lacks, found before the first step fails."""
    if sys.platform == "win32":
        variable, names = "CXX", ["cl"]
    elif device.type == "cuda":  # what Triton calls
        variable, names = "CC", ["gcc", "clang", "cc"]
    else:
        variable, names = "CXX", ["clang++" if sys.platform == "darwin" else "g++"]
    chosen = os.environ.get(variable)
    wanted = [chosen] if chosen else names
    if any(shutil.which(name) for name in wanted):
        return None
    return (
        f"torch compiles with {' or '.join(wanted)}, which is not installed here; install it, "
        f"name another compiler by the variable {variable}, or leave this key out"
    )


def recorded(model: nn.Module) -> nn.Module:
    """`model` with its kernels launched as one CUDA graph per input shape.

    Kernels and results are those of the plain model. If a step is many small kernels, launching
    them takes longer than running them. The next replay overwrites the output: clone it to keep it.
    """
    # A graph has one shape; by default torch would make the last, smaller batch dynamic.
    return torch.compile(model, backend="cudagraphs", dynamic=False)  # type: ignore[return-value]
