"""`cnnrun report`: a run, or many, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import Plugins, Storage, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime import console
from cnnrun.runtime.interrupt import Leave

CTRL_C = 130


@app.command(
    epilog=examples(
        "cnnrun report RUN",
        "cnnrun report sweeps/mine -o mine.html",
        "cnnrun report runs --serve",
    )
)
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
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Show the runs on this machine while they train."),
    ] = False,
    port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="With --serve, the port; by default any free one.", metavar="NUMBER"),
    ] = None,
    storage: Storage = None,
    plugin: Plugins = None,
) -> None:
    """Write an HTML page about runs, or show runs as they train.

    One file that opens in any browser, without a network. With --serve nothing is written: the page
    is shown at an address of this machine until Ctrl-C, and follows the runs.
    """
    if serve:
        _serve(paths, port or 0, output)
        return
    if port is not None:
        raise ConfigError("--port goes with --serve: a file needs none")
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


def _serve(paths: list[Path], port: int, output: Path | None) -> None:
    """Show the runs until Ctrl-C, which is no failure."""
    if output is not None:
        raise ConfigError("choose one of --serve, which writes no file, and --output")
    from cnnrun.report.serving import Server

    with Server(paths, port) as server:
        console.out(server.address)
        console.note("open this address in a browser on this machine; Ctrl-C ends it")
        try:
            server.serve_forever()
        except Leave as left:
            if left.exit_code != CTRL_C:
                raise
