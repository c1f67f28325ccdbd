"""`cnnrun eval` and `cnnrun viz`: scores and plots of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Output, Overrides, Plugins, TrainedTarget, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json

if TYPE_CHECKING:
    from cnnrun.plots.target import Target


@app.command(
    "eval",
    epilog=examples(
        "cnnrun eval RUN",
        "cnnrun eval RUN --split validation --json",
        "cnnrun eval RUN dataset.root=other_images",
    ),
)
def evaluate(
    target: TrainedTarget,
    overrides: Overrides = None,
    split: Annotated[
        str, typer.Option(help="Split to score: train, validation or test.", metavar="SPLIT")
    ] = "test",
    batch_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N", min=1, help="Images per batch; changes the speed, not the scores."
        ),
    ] = None,
    outliers: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=24,
            help="Of an autoencoder: list and draw the N worst reconstructions.",
        ),
    ] = 0,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Score a trained model on a split of its data."""
    if split not in ("train", "validation", "test"):
        raise ConfigError(f"--split: expected train, validation or test, got '{split}'")
    from cnnrun.evaluation import probing
    from cnnrun.evaluation import scoring as evaluation
    from cnnrun.evaluation.loading import open_checkpoint
    from cnnrun.plots import draw
    from cnnrun.plots.target import Opened, Target

    file, parts, checkpoint = open_checkpoint(
        target, overrides or [], plugin or [], for_scores=True
    )
    predictions, scores = evaluation.evaluate(parts, split, batch_size)
    said = evaluation.data_said(parts, split, checkpoint)
    for warning in said.warnings:
        console.warn(warning)
    scores |= {"trained_on": said.trained_on}
    words = f"{said.heading}\n{parts.task.to_text(scores)}"
    if said.trained_on == 0:
        words += "\nnone of these images was trained on"
    if probing.has_codes(parts):
        further, more = probing.further_scores(parts, split, predictions)
        scores, words = scores | further, words + more
    if outliers:
        if not probing.has_codes(parts):
            raise ConfigError("--outliers ranks by reconstruction error: it needs an autoencoder")
        rows, more = probing.worst(parts, split, predictions, outliers)
        plot = _plots_folder(target) / "outliers.png"
        opened = Target(
            target, opened=Opened(parts, trained=True), predictions={split: predictions}
        )
        draw("outliers", opened, plot, [f"count={outliers}", f"split={split}"])
        scores |= {"outliers": rows, "plot": str(plot)}
        words += f"{more}\nplot  {plot}"
    console.out(to_json({"checkpoint": str(file), **scores}) if as_json else words, fit=not as_json)


@app.command(
    epilog=examples(
        "cnnrun viz confusion RUN",
        "cnnrun viz augmentations mine.yaml -p count=36 -o augmentations.png",
    )
)
def viz(
    plot: Annotated[
        str,
        typer.Argument(help="Name of a plot, or `all` (`cnnrun list plot`).", metavar="PLOT"),
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="TARGET", help="A config file or its name, a run or a checkpoint."),
    ],
    overrides: Overrides = None,
    output: Output = None,
    parameter: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "-p", help="Parameter of the plot, e.g. -p count=36; repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Draw plots of a config, a run or a checkpoint."""
    from cnnrun.plots import draw
    from cnnrun.plots.target import Target

    drawn_of = Target(target, overrides or [], plugin or [])
    if plot == "all":
        _draw_all(drawn_of, output or _plots_folder(target), parameter or [])
        return
    output = output or _plots_folder(target) / f"{plot}.png"
    draw(plot, drawn_of, output, parameter or [])
    console.out(output)


def _draw_all(target: Target, folder: Path, parameters: list[str]) -> None:
    from cnnrun.plots import draw_all

    if parameters:
        raise ConfigError(f"-p {parameters[0]}: parameters belong to one plot; name the plot")
    if folder.suffix or folder.is_file():
        raise ConfigError(f"-o {folder}: `all` writes into a folder; name a folder")
    files, refused = draw_all(target, folder)
    for file in files:
        console.out(file)
    for name, reason in refused.items():
        console.note(f"not drawn: {name}: {reason}")
    if not files:
        raise UserError(f"{target.path}: none of the plots could be drawn")


def _plots_folder(target: Path) -> Path:
    """Where plots go: with the others of the run, or here."""
    return target / "plots" if (target / "plots").is_dir() else Path()
