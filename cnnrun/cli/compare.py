"""`cnnrun runs` and `cnnrun compare`: what many runs say together."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from cnnrun.cli.app import AsJson, Output, app
from cnnrun.errors import ConfigError

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs lie.")] = Path("runs"),
    where: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--filter", help="Only runs with this setting, e.g. optimizer.lr=0.1"),
    ] = None,
    sort: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A column; the best or largest last."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the runs below a folder: state, seed, epochs, score, and the settings that differ."""
    from cnnrun.comparing.finished import find_runs
    from cnnrun.comparing.table import as_text, rows_of

    found = find_runs([folder])
    for run in found:
        if run.problem:
            print(f"{run.path}: {run.problem}", file=sys.stderr)
    rows = rows_of(found, where or [], sort)
    if as_json:
        print(json.dumps(rows))
    elif as_csv:
        _print_csv(rows)
    else:
        print(as_text(rows))


@app.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(help="Runs, or folders of runs.", metavar="RUN")],
    measure: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What to compare by, e.g. loss; by default the task's own."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    output: Output = None,
) -> None:
    """Compare runs by what differs in their settings, over seeds, and say what can be claimed."""
    if as_json and as_csv:
        raise ConfigError("choose one of --json and --csv")
    from cnnrun.comparing.comparison import compare as compared
    from cnnrun.comparing.finished import find_runs

    found = compared(find_runs(paths), measure)
    if as_json:
        print(json.dumps(found.to_dict()))
    elif as_csv:
        groups = found.to_dict()["groups"]
        _print_csv([{**g["settings"], **{k: g.get(k) for k in ("mean", "low", "high")},
                     "runs": len(g["runs"])} for g in groups])  # fmt: skip
    else:
        print(found.as_text())
    if output is not None:
        from cnnrun.plots.comparison import draw_comparison
        from cnnrun.plots.style import save

        save(draw_comparison(found), output)


def _print_csv(rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns)
    writer.writeheader()
    writer.writerows(rows)
