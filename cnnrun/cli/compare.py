"""`cnnrun runs` and `cnnrun compare`: many runs side by side."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cnnrun.cli.app import AsJson, Output, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.printable import printable
from cnnrun.runtime.strict_json import to_json
from cnnrun.runtime.text_table import within

if TYPE_CHECKING:
    from cnnrun.comparison import RunRecord

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@app.command(
    epilog=examples(
        "cnnrun runs", "cnnrun runs sweeps/mine --sort accuracy --filter optimizer.name=adam"
    )
)
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to look in.")] = Path("runs"),
    where: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--filter",
            metavar="CONDITION",
            help="Only these runs, e.g. seed=0 or 'optimizer.lr>0.1' (=, !=, >, <); repeatable.",
        ),
    ] = None,
    sort: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="KEY", help="Sort by a metric (best first), a setting or time (smallest first)."
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order.")] = False,
    columns: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="KEY,KEY", help="Columns to show, e.g. run,test_loss,model.name"),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List runs: state, scores, and settings that differ."""
    _one_format(as_json, as_csv)
    from cnnrun.comparison import find_runs
    from cnnrun.comparison.table import RunTable

    table = RunTable(find_runs([folder]))
    _report_unfinished(table.runs)
    table.filter(where or [])
    if sort is not None:
        table.sort(sort, reverse)
    keys = columns.split(",") if columns else table.columns()
    for key in keys:
        table.check(key, "--columns")
    if as_json:
        console.out(to_json(table.rows(keys)))
    elif as_csv:
        _print_csv(keys, table.rows(keys))
    else:
        for note in table.notes:
            console.warn(f"note: {note}")
        # Requested columns are printed however wide they are.
        width = None if columns else shutil.get_terminal_size((120, 24)).columns
        with within(width) if width else nullcontext():
            console.out(table.to_text(keys, width), fit=True)


@app.command(
    epilog=examples(
        "cnnrun compare runs/", "cnnrun compare runs/a runs/b --metric loss -o compare.png"
    )
)
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Run directories, or folders of them.", metavar="RUN|FOLDER..."),
    ],
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--metric",
            metavar="NAME",
            help="Metric to compare by; by default the task's own. NAME:max and NAME:min say which "
            "is better.",
        ),
    ] = None,
    measure: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", hidden=True, help="The former name of `--metric`."),
    ] = None,
    ignore: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY", help="Setting to treat as equal; repeatable."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    output: Output = None,
) -> None:
    """Compare settings over seeds, with tests and intervals.

    Runs are grouped by the settings in which they differ; the output says what can't be claimed.
    """
    _one_format(as_json, as_csv)
    from cnnrun import comparison as comparing

    if measure is not None:
        console.warn("'--measure' is called '--metric' now; both are understood")
        metric = metric or measure
    found = comparing.find_runs(paths)
    damaged = [run for run in found if run.state == "damaged"]
    comparison = comparing.compare(comparing.group_runs(found, ignore or []), metric, damaged)
    if output is not None:
        from cnnrun.plots.drawing.comparison import draw_comparison
        from cnnrun.plots.style import save

        save(draw_comparison(comparison), output)
    if as_json:
        console.out(to_json(comparing.to_dict(comparison)))
    elif as_csv:
        for text in comparison.caveats:
            console.warn(f"warning: {text}")
        _print_groups(comparing.to_dict(comparison))
    else:
        width = shutil.get_terminal_size((120, 24)).columns
        with within(width):
            console.out(comparing.to_text(comparison), fit=True)


def _one_format(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise ConfigError("choose one of --json and --csv")


def _report_unfinished(found: Sequence[RunRecord]) -> None:
    for run in found:
        if run.state != "finished":
            console.warn(f"{printable(run.path)}: {run.state} {printable(run.remark)}".rstrip())


def _print_groups(found: dict[str, Any]) -> None:
    """A row for each group: its figures, then the settings that differ."""
    figures = ("name", "ranked_by", "mean", "low", "high", "deviation")
    keys = dict.fromkeys(key for group in found["groups"] for key in group["settings"])
    rows = [
        {**{key: group[key] for key in figures}, "runs": len(group["runs"]), **group["settings"]}
        for group in found["groups"]
    ]
    _print_csv([*figures, "runs", *keys], rows)


def _print_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    writer = csv.DictWriter(console.results, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
