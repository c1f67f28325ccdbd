"""`cnnrun verify-resume`: proof that a killed run of an experiment loses nothing."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Config, Overrides, Plugins, app
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json


@app.command("verify-resume")
def verify_resume(
    config: Config,
    overrides: Overrides = None,
    kills: Annotated[int, typer.Option(min=1, help="How often to kill it.")] = 5,
    epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Train so many epochs, for a quicker answer."),
    ] = None,
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Train on so many images, for a quicker answer."),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Of the instants of the kills; another one each time."),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Train twice, once killed and resumed at random, and compare every bit; leaves nothing."""
    from cnnrun.config.experiment import load
    from cnnrun.runs.verify_resume import verify

    shorter = {"training.epochs": epochs, "dataset.limit": limit}
    changes = [*(overrides or []), *(f"{key}={n}" for key, n in shorter.items() if n)]
    load(config, changes, plugin or [])  # mistakes are told at once, and as such
    verdict = verify(config, changes, plugin or [], kills, seed, lambda text: console.warn(text))
    console.out(to_json(verdict.to_dict()) if as_json else verdict.as_text())
    if not verdict.same:
        raise typer.Exit(1)
