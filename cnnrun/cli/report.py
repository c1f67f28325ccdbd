"""`cnnrun report`: a run, or many, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import Plugins, Storage, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import UserError
from cnnrun.runtime import console


@app.command(epilog=examples("cnnrun report RUN", "cnnrun report sweeps/mine -o mine.html"))
def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories, or folders of them: a sweep, a study ...",
            metavar="RUN|FOLDER...",
        ),
    ],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--output",
            "-o",
            help="HTML file to write; by default report.html in RUN.",
            metavar="FILE",
        ),
    ] = None,
    storage: Storage = None,
    plugin: Plugins = None,
) -> None:
    """Write an HTML page about one run or many.

    One file that opens in any browser, without a network.
    """
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
