"""`cnnrun verify-resume`: proof that a killed run of an experiment loses nothing."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Config, Overrides, Plugins, app
from cnnrun.cli.help_text import examples
from cnnrun.cli.printing import print_found
from cnnrun.runtime import console


@app.command("verify-resume", epilog=examples("cnnrun verify-resume mine.yaml --epochs 3"))
def verify_resume(
    config: Config,
    overrides: Overrides = None,
    kills: Annotated[int, typer.Option(metavar="N", min=1, help="Number of kills.")] = 5,
    epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Epochs to train, for a quicker answer."),
    ] = None,
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Images to train on, for a quicker answer."),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Random seed of the moments of the kills."),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Prove that a killed run resumes bit for bit.

    Trains twice, once killed and resumed at random moments, and compares; writes nothing.
    """
    from cnnrun.config.experiment import load
    from cnnrun.runs.verify_resume import verify

    shorter = {"training.epochs": epochs, "dataset.limit": limit}
    changes = [*(overrides or []), *(f"{key}={n}" for key, n in shorter.items() if n)]
    load(config, changes, plugin or [])  # report mistakes now, as such
    verdict = verify(config, changes, plugin or [], kills, seed, lambda text: console.warn(text))
    print_found(verdict, as_json)
    if not verdict.same:
        raise typer.Exit(1)
