"""`cnnrun report`: a run, or many, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import Plugins, Storage, app
from cnnrun.errors import UserError
from cnnrun.runtime import console


@app.command()
def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="A run, or folders of runs: a sweep, a study ...", metavar="RUN|FOLDER..."
        ),
    ],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--output",
            "-o",
            help="The HTML to write; by default report.html there.",
            metavar="FILE",
        ),
    ] = None,
    storage: Storage = None,
    plugin: Plugins = None,
) -> None:
    """Write one HTML page about a run or many that opens anywhere, without a network."""
    from cnnrun import comparison as comparing
    from cnnrun.report import many_runs, one_run
    from cnnrun.runtime.files import write_text

    found = comparing.find_runs(paths)
    if len(found) == 1:
        html = one_run.report(found[0], plugin or [])
    else:
        title = ", ".join(path.resolve().name for path in paths)
        html = many_runs.report(found, title, paths[0], plugin or [], storage)
    file = output or paths[0] / "report.html"
    if file.is_dir():
        raise UserError(f"--output {file}: is a folder; name the HTML file to write")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {file}: can't make its folder ({error.strerror})") from error
    write_text(file, html)
    console.out(file)
