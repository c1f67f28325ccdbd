"""`cnnrun eval` and `cnnrun viz`: a run to scores and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Output, Overrides, Plugins, TrainedTarget, app
from cnnrun.errors import ConfigError


@app.command("eval")
def evaluate(
    target: TrainedTarget,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    batch_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Images at once; changes the speed, not the figures."),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Score a run's best checkpoint, or a checkpoint file, on a split."""
    if split not in ("train", "validation", "test"):
        raise ConfigError(f"--split: expected train, validation or test, got '{split}'")
    from cnnrun import evaluation

    file, parts, _ = evaluation.open_checkpoint(target, overrides or [], plugin or [])
    _, scores = evaluation.evaluate(parts, split, batch_size)
    if as_json:
        print(json.dumps({"checkpoint": str(file), **scores}))
    else:
        print(f"{split} split, {scores['samples']:,} images\n{parts.task.in_words(scores)}")


@app.command()
def viz(
    plot: Annotated[str, typer.Argument(help="Which picture; `cnnrun list plot` shows all.")],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="A YAML file, run directory or checkpoint.")
    ],
    overrides: Overrides = None,
    output: Output = None,
    parameter: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "-p", help="A parameter of the picture, e.g. -p count=36", metavar="KEY=VALUE"
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Draw one picture of an experiment, a run or a checkpoint."""
    from cnnrun.plots import draw
    from cnnrun.plots.target import Target

    drawn_of = Target(target, overrides or [], plugin or [])
    if output is None:
        folder = target / "plots" if (target / "plots").is_dir() else Path()
        output = folder / f"{plot}.png"
    draw(plot, drawn_of, output, parameter or [])
    print(output)
