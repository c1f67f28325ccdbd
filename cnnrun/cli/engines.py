"""Options of `cnnrun sweep`, `study` and `crossval`: how many runs at a time, and where."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

_WHERE = "Where to train"

Processes = Annotated[
    Optional[int],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Option(
        "--workers", "-w", metavar="N", min=1, help="Processes that train at the same time."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the commands, one per line, and train nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="local|ray[://HOST:PORT]|slurm",
        help="Processes here, a Ray cluster, or jobs of Slurm.",
        rich_help_panel=_WHERE,
    ),
]
Cpus = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="N", min=0.01, help="CPUs of each run.", rich_help_panel=_WHERE),
]
Gpus = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="N", min=0, help="GPUs of each run; on Ray also 0.5.", rich_help_panel=_WHERE
    ),
]
Memory = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="GB", min=0.01, help="Memory of each run.", rich_help_panel=_WHERE),
]
Minutes = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--time",
        metavar="MINUTES",
        min=1,
        help="Slurm: time of a job; a run continues in the next.",
        rich_help_panel=_WHERE,
    ),
]
SlurmOptions = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--slurm",
        metavar="OPTION=VALUE",
        help="Slurm: another option of sbatch, e.g. partition=gpu; repeatable.",
        rich_help_panel=_WHERE,
    ),
]
