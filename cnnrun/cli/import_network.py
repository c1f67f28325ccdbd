"""`cnnrun import`: a trained network of another program as a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import AsJson, Overrides, Plugins, app
from cnnrun.cli.help_text import examples
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json


@app.command(
    "import",
    epilog=examples(
        "cnnrun import torchvision/resnet18 -o resnet18.pt",
        "cnnrun import timm/resnet10t --weights mine.pth --classes names.txt -o mine.pt",
        "cnnrun import cnn model.channels=[8,16] dataset.size=28 dataset.channels=gray "
        "dataset.normalize=half --weights w.pt -o w2.pt",
    ),
)
def import_network(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A network (`cnnrun list model`).")],
    overrides: Overrides = None,
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="FILE|NAME",
            help="Weights file, or the name of the library's weights; by default its best.",
        ),
    ] = None,
    classes: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Names of the outputs: one per line, or JSON."),
    ] = None,
    rename: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="YAML file: names in the weights file to names here."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Checkpoint to write.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Make a checkpoint of a pretrained network, unchanged.

    `predict`, `eval`, `viz`, `export` and transfer.weights take it like any other.
    """
    from cnnrun.evaluation import importing

    done = importing.import_network(model, weights, classes, rename, overrides or [], plugin or [])
    for line in [*done.fit, *done.notes]:
        console.note(line)
    checkpoint = done.checkpoint
    file = output or Path(f"{checkpoint.config['name']}.pt")
    checkpoint.save(file)
    if as_json:
        answer = {"file": str(file), "classes": checkpoint.classes}
        console.out(to_json(answer | {"input_shape": checkpoint.input_shape, "fit": done.fit}))
        return
    shape = " x ".join(map(str, checkpoint.input_shape))
    console.note(f"{model}: images {shape}, {len(checkpoint.classes):,} classes")
    console.out(file)
