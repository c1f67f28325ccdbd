"""The model's step in other words, for GPUs: `training.compile` and `sync_batch_norm`."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch import nn

from cnnrun.config.experiment import Experiment
from cnnrun.runtime.distributed import synchronize_norms, world


def convert_norms(model: nn.Module, experiment: Experiment, device: torch.device) -> None:
    """Let batch normalization be over all processes' batch where `sync_batch_norm` asks for it.

    Raises:
        ConfigError: these are no GPUs.
    """
    if not experiment.training.sync_batch_norm or world().size == 1:
        return
    if device.type != "cuda":
        message = f"it works between GPUs alone, and this is {device.type}; leave it out"
        raise experiment.error(["training", "sync_batch_norm"], message)
    synchronize_norms(model)


def compiled(model: nn.Module, experiment: Experiment, device: torch.device) -> nn.Module:
    """`model`, compiled or its kernels recorded where `training.compile` asks for it.

    Raises:
        ConfigError: there is no compiler, no GPU to record for, or a batch is not one piece.
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
        # What the first piece left in the gradients would be overwritten by the second's replay.
        key = "auto_batch" if training.auto_batch else "accumulate"
        raise experiment.error(["training", key], "cuda_graphs take a batch in one piece")
    return recorded(model)


def _missing_compiler(device: torch.device) -> str | None:
    """What torch lacks to compile for `device`, told before it fails in the first step."""
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
    """`model` whose kernels are started as one CUDA graph for each shape of its input.

    The kernels are those of the plain model, so are the numbers. Where a step is many small
    kernels, starting them takes longer than they do. The output lies where the next replay
    writes: who keeps it clones it.
    """
    # A graph is of one shape; left to itself, torch takes the last, smaller batch for any size.
    return torch.compile(model, backend="cudagraphs", dynamic=False)  # type: ignore[return-value]
