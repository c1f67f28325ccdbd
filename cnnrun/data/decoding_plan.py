"""Whether processes decode image files, and how many, as threads can't keep up with a GPU.

Measured on 16 cores, 500x375 JPEGs to random 224x224 crops: threads decode 2,000 images per second,
however many there are, as each call of a decoder, of torch and of the system releases the GIL and
has to get it back; 16 processes decode 6,000, and don't block launching a GPU's kernels.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import NamedTuple

import torch

from cnnrun.runtime.container import cores
from cnnrun.runtime.launched import processes_here
from cnnrun.runtime.memory import free_host_bytes

PIECE = 32
"""Samples that a process decodes at once: few next to a batch, and more work than sending them."""
_FEWEST = 4  # fewer processes are no faster than threads
_SPARED = 2  # cores for the loop that trains, and for the thread that pins memory


class Plan(NamedTuple):
    """So many processes, each of which has at most so many pieces ready or in the making."""

    processes: int
    ahead: int


def plan(
    device: torch.device, samples: int, batch: int, image_bytes: int, threads: int
) -> Plan | None:
    """Whether, and how, processes decode the batches of a pass; None: threads do.

    samples, batch: in a pass, and in a batch. image_bytes: of one decoded image. threads: that
    would decode.
    """
    if device.type != "cuda" or sys.platform != "linux":
        return None
    if multiprocessing.current_process().daemon:  # such a process may start none
        return None
    here = processes_here()
    fitting = _room() // here // (PIECE * image_bytes)
    processes = min(cores() // here - _SPARED, threads, -(-samples // PIECE), fitting // 2)
    if processes < _FEWEST:
        return None
    two_batches = -(-2 * batch // (PIECE * processes))
    return Plan(processes, min(max(2, two_batches), fitting // processes))


def _room() -> int:
    """Bytes that pieces may take: half of what is left. Containers of Docker have 64 MB of it."""
    try:
        state = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return min(state.f_bavail * state.f_frsize, free_host_bytes()) // 2
