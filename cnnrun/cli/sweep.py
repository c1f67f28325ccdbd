"""`cnnrun sweep`: many runs over a grid, random draws or Optuna's choices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Overrides, Plugins, Storage, app
from cnnrun.cli.engines import (
    Cpus,
    DryRun,
    Gpus,
    Memory,
    Minutes,
    On,
    Processes,
    SlurmOptions,
)
from cnnrun.cli.help_text import examples
from cnnrun.cli.printing import print_found
from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime import console

if TYPE_CHECKING:
    from cnnrun.multirun.sweep.results import Results


Sweep = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Argument(
        help="A sweep file, or the name of a shipped one (`cnnrun list`).",
        metavar="SWEEP",
        show_default=False,
    ),
]
Join = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Work on a sweep that was started elsewhere.", metavar="URL|DIR"),
]
Name = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Which sweep to join, where a database has several."),
]
Folder = Annotated[
    Path,
    typer.Option("--output", "-o", help="Folder of the sweep with --join URL.", metavar="DIR"),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again.")]


@app.command(
    epilog=examples(
        "cnnrun sweep digits_lr",
        "cnnrun sweep mine.yaml --workers 4",
        "cnnrun sweep mine.yaml --on ray --cpus 2 --gpus 0.5",
        "cnnrun sweep mine.yaml --on slurm --time 240 --slurm partition=gpu",
        "cnnrun sweep --join sweeps/mine        # on another machine",
    )
)
def sweep(
    file: Sweep = None,
    overrides: Overrides = None,
    join: Join = None,
    name: Name = None,
    storage: Storage = None,
    output: Folder = Path("sweeps"),
    workers: Processes = None,
    retry_failed: RetryFailed = False,
    on: On = "local",
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    time: Minutes = None,
    slurm: SlurmOptions = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Search hyperparameters: grid, random or Optuna.

    Several machines can work on one sweep; one that was stopped or killed continues.
    """
    changes = list(overrides or [])
    if join is not None and file is not None and "=" in str(file):
        # With --join the first argument is already a change.
        changes, file = [str(file), *changes], None
    if (file is None) == (join is None):
        raise ConfigError("name a sweep file, or one to work on with --join URL|DIR")
    from cnnrun.multirun.launcher.engine import Place
    from cnnrun.multirun.sweep import sweep as sweeps

    options = sweeps.LaunchOptions(
        workers,
        retry_failed,
        tuple(plugin or []),
        storage=storage,
        named=tuple(changes) if join else (),
        output=output,
        place=Place(on, cpus, gpus, memory, time, tuple(slurm or [])),
    )
    if dry_run:
        if file is None:
            raise ConfigError("--dry-run needs a sweep file")
        console.out("\n".join(sweeps.commands(file, changes, options)))
        return
    if file is not None:
        results = sweeps.start(file, changes, options)
    else:
        assert join is not None
        results = sweeps.join(join, name, options)
    print_found(results, as_json)
    _report_failures(results)


def _report_failures(results: Results) -> None:
    """Report on stderr how many trials failed; if all did, that is an error.

    Raises:
        UserError: every trial failed.
    """
    failed = results.count("failed")
    if failed == len(results.trials):
        raise UserError(f"all {failed} trials failed; the first: {results.trials[0].message}")
    if failed:
        console.warn(
            f"{failed} of {len(results.trials)} trials failed; --retry-failed runs them again",
        )
