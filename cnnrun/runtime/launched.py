"""This process's place among all, as torchrun says it in the environment; without torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cnnrun.errors import ConfigError
from cnnrun.runtime import console

_MEETING = ("MASTER_ADDR", "MASTER_PORT")
# Launchers that start a command many times, by their variables for count and number.
_STARTERS = {
    "srun": ("SLURM_NTASKS", "SLURM_PROCID"),
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK"),
}


@dataclass(frozen=True)
class World:
    """This process among all: `rank` 0..size-1; `local_rank` counts on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def stream(self) -> tuple[int, ...]:
        """Counters that make the processes' random numbers differ; none for the first."""
        return (self.rank,) if self.rank else ()


def world() -> World:
    """The environment of torchrun; a single process without it.

    Raises:
        ConfigError: the environment is inconsistent.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return World()
    texts = [os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ.get("LOCAL_RANK", "0")]
    if all(text.isdecimal() for text in texts):
        rank, size, local_rank = map(int, texts)
        if rank < size:
            return World(rank, size, local_rank)
    raise ConfigError(
        f"RANK={texts[0]} and WORLD_SIZE={texts[1]} in the "
        f"environment are not a process of a number "
        "of processes; if they are left over: unset RANK WORLD_SIZE"
    )


def processes_here() -> int:
    """How many processes of this run share this machine, as torchrun says; 1 without it."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(text)) if text.isdecimal() and "RANK" in os.environ else 1


met: list[World] = []
"""Set once this process has joined others: gloo's threads may abort a normal exit."""


def check_meeting_place(here: World) -> None:
    """Refuse to wait for processes that were never started.

    Raises:
        ConfigError: the environment does not say where they meet.
    """
    if here.size == 1:
        return
    missing = [name for name in _MEETING if not os.environ.get(name)]
    left_over = "unset RANK WORLD_SIZE trains with this one only"
    if missing:
        raise ConfigError(
            f"RANK and WORLD_SIZE say that this is process {here.rank} of {here.size}, but "
            f"{' and '.join(missing)}, where they meet, is not set: torchrun sets all of them; "
            f"if they are left over, {left_over}"
        )
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        place = ":".join(os.environ[name] for name in _MEETING)
        console.warn(f"meeting the other {here.size - 1} processes at {place} ({left_over})")


def works_here(command: str) -> bool:
    """Whether this process runs a single-process command; it counts as alone from here on.

    Under torchrun the first process does. In a shell with leftover variables, this one.
    """
    mine = True
    if "TORCHELASTIC_RUN_ID" in os.environ:
        here = world()
        mine = here.is_main
        if mine and here.size > 1:
            console.warn(f"{command} is one process's work: done by the first of {here.size}")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)
    return mine


def warn_of_copies() -> None:
    """Warn that a command started many times makes many runs, not one distributed run."""
    if "WORLD_SIZE" in os.environ:
        return
    for starter, (count, number) in _STARTERS.items():
        copies = os.environ.get(count, "")
        if copies.isdecimal() and int(copies) > 1 and os.environ.get(number, "0") == "0":
            console.warn(
                f"{count}={copies}: where {starter} starts this command, each of its {copies} "
                f"tasks trains a run of its own; for one run of them all, use torchrun "
                "(docs/howto/multi_gpu.md)"
            )
