"""How much memory is available, and how much was used."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cnnrun.runtime.container import memory_left

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_bytes(device: torch.device) -> int | None:
    """Peak memory: of tensors on a GPU, else of this process.

    None where the system doesn't say.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)  # KiB on Linux


def free_bytes() -> int:
    """Bytes available to a computation: on the GPU if there is one, else to this process."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return int(free)
    return free_host_bytes()


def free_host_bytes() -> int:
    """The least of the system's free memory, the container's limit and `ulimit -v`."""
    in_container = memory_left()
    limits = [_available(), _left_of_address_space()]
    return min(limits if in_container is None else [*limits, in_container])


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 2**62


def _left_of_address_space() -> int:
    if resource is None:
        return 2**62
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return 2**62
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return most
    return max(0, most - pages * resource.getpagesize())
