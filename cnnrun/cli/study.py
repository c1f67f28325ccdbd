"""`cnnrun study`: variants of an experiment under several seeds, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnrun.cli.app import AsJson, Overrides, Plugins, app
from cnnrun.cli.engines import (
    Cpus,
    DryRun,
    Gpus,
    Memory,
    Minutes,
    On,
    Processes,
    Quiet,
    SlurmOptions,
)
from cnnrun.cli.help_text import examples
from cnnrun.cli.printing import print_found
from cnnrun.runtime import console


@app.command(
    epilog=examples("cnnrun study initializers", "cnnrun study mine.yaml --workers 4 seeds=5")
)
def study(
    file: Annotated[
        Path,
        typer.Argument(
            help="A study file, or the name of a shipped one (`cnnrun list`).", metavar="STUDY"
        ),
    ],
    overrides: Overrides = None,
    workers: Processes = None,
    on: On = "local",
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    time: Minutes = None,
    slurm: SlurmOptions = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
    quiet: Quiet = False,
) -> None:
    """Train variants under several seeds and compare them.

    Prints and draws the findings; finished runs are not trained again.
    """
    from cnnrun.multirun.launcher.engine import Place
    from cnnrun.multirun.launcher.train_jobs import LaunchOptions
    from cnnrun.multirun.study import study as studies

    place = Place(on, cpus, gpus, memory, time, tuple(slurm or []))
    options = LaunchOptions(workers, tuple(plugin or []), quiet, place)
    if dry_run:
        console.out("\n".join(studies.commands(file, overrides or [], options)))
        return
    findings = studies.run(file, overrides or [], options)
    print_found(findings, as_json)
