"""`cnnrun eval` and `cnnrun viz`: a run to scores and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

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
    predictions = evaluation.predict(parts, split, batch_size)
    scores = evaluation.scores(predictions, parts.dataset.classes, split)
    if as_json:
        print(json.dumps({"checkpoint": str(file), **scores}))
    else:
        _print_scores(scores)


def _print_scores(scores: dict[str, Any]) -> None:
    print(f"{scores['split']} split, {scores['samples']:,} images")
    print(f"accuracy           {100 * scores['accuracy']:.2f} %")
    print(f"top-5 accuracy     {100 * scores['top5']:.2f} %")
    print(f"loss               {scores['loss']:.4f}")
    print(f"calibration error  {scores['ece']:.4f}")
    width = max(5, *(len(row["class"]) for row in scores["per_class"]))
    print(f"\n{'class':{width}}  precision  recall    f1  images")
    for row in scores["per_class"]:
        numbers = [f"{row[key]:.3f}" if row[key] is not None else "-" for key in ("recall", "f1")]
        print(
            f"{row['class']:{width}}  {row['precision']:9.3f}  {numbers[0]:>6} {numbers[1]:>5}"
            f"  {row['support']:>6,}"
        )
    absent = [row["class"] for row in scores["per_class"] if not row["support"]]
    if absent:
        print(f"\nwithout images in this split: {', '.join(absent)}")


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
