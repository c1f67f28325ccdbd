"""`cnnrun study`: variants of an experiment under several seeds, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Overrides, Plugins, app
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json


@app.command()
def study(
    file: Annotated[
        Path,
        typer.Argument(
            help="The study's YAML file, or the name of a shipped one.", metavar="STUDY"
        ),
    ],
    overrides: Overrides = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--workers", "-w", min=1, help="Processes side by side."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands instead, one a line.")
    ] = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train the variants of a study under several seeds; tell and draw what was found."""
    from cnnrun.multirun.study import study as studies

    options = studies.LaunchOptions(workers, tuple(plugin or []), quiet)
    if dry_run:
        console.out("\n".join(studies.commands(file, overrides or [], options)))
        return
    findings = studies.run(file, overrides or [], options)
    console.out(to_json(findings.to_dict()) if as_json else findings.as_text())
