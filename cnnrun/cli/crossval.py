"""`cnnrun crossval`: train on all folds but one, in turn."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Config, Overrides, Plugins, app
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
from cnnrun.cli.seeds import METAVAR, chosen_seeds
from cnnrun.runtime import console


@app.command(
    epilog=examples("cnnrun crossval digits_cnn", "cnnrun crossval mine.yaml --folds 10 -w 2")
)
def crossval(
    config: Config,
    overrides: Overrides = None,
    folds: Annotated[int, typer.Option(metavar="K", min=2, help="Number of folds.")] = 5,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar=METAVAR, help="Repeat it under N seeds, or those listed."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder of all cross-validations.", metavar="DIR")
    ] = "crossval",
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
    """Cross-validate: train once for each fold.

    Every training image is predicted by the one network that was not trained on it. Finished folds
    are not trained again.
    """
    overrides = overrides or []
    from cnnrun.multirun import crossval as folded
    from cnnrun.multirun.launcher.engine import Place
    from cnnrun.multirun.launcher.train_jobs import LaunchOptions

    place = Place(on, cpus, gpus, memory, time, tuple(slurm or []))
    options = LaunchOptions(workers, tuple(plugin or []), quiet, place)
    numbers = []
    if seeds is not None:
        from cnnrun.config.experiment import load

        numbers = chosen_seeds(seeds, load(config, overrides, options.plugins).seed)
    if dry_run:
        lines = folded.commands(config, folds, overrides, output, options, numbers)
        console.out("\n".join(lines))
        return
    found = folded.run(config, folds, overrides, output, options, numbers)
    print_found(found, as_json)
