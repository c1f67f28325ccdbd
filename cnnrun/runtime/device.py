"""The device that a run computes on."""

from __future__ import annotations

import math
import os

import torch

from cnnrun.errors import UserError
from cnnrun.runtime import container
from cnnrun.runtime.distributed import world
from cnnrun.runtime.launched import processes_here


def select_device(name: str) -> torch.device:
    """The device `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; `auto` is the fastest available.

    Raises:
        UserError: the named device is not available; there is no silent fallback.
    """
    _keep_to_quota()
    if name == "auto":
        if torch.cuda.is_available():
            # One GPU for each process of this machine.
            return torch.device("cuda", world().local_rank % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"there are {count}" if count else "there is none"
            raise UserError(
                f"device {name}: no such GPU here ({found}); use device=auto or device=cpu"
            )
        if device.index is None:  # one for each process of this machine
            return torch.device("cuda", world().local_rank % count)
        if processes_here() > 1:
            raise UserError(
                f"device {name}: {processes_here()} processes can't share one GPU; "
                "write device=cuda, which gives each its own"
            )
        return device
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps: not available here; use device=auto or device=cpu")
    return device


def _keep_to_quota() -> None:
    """Use no more threads than a container's quota: torch only counts the machine's cores."""
    quota = container.cpu_quota()
    if quota is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), max(1, math.ceil(quota))))


def device_name(device: torch.device) -> str:
    """What `environment.json` calls the device, e.g. 'NVIDIA H100' or 'cpu (8 threads)'."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else "mps"


def be_deterministic(wanted: bool) -> None:
    """torch's own switch: deterministic algorithms, or an error that names the one that isn't."""
    # Read by cuBLAS when it is first used.
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Even turning it off makes torch import its compiler, which takes more than a second.
    if wanted != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(wanted)
