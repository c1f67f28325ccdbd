"""`cnnrun export`: a trained network as a file for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from cnnrun.cli.app import AsJson, Plugins, TrainedTarget, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json

_FORMATS = ("onnx", "safetensors", "torch-export", "torchscript")


@app.command(
    epilog=examples(
        "cnnrun export RUN", "cnnrun export RUN --format safetensors -o model.safetensors"
    )
)
def export(
    target: TrainedTarget,
    format: Annotated[str, typer.Option(help=", ".join(_FORMATS) + ".", metavar="FORMAT")] = "onnx",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="File to write.", metavar="FILE"),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option("--preprocessing", help="Include normalization: the file takes uint8 images."),
    ] = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Export a trained model to ONNX, safetensors ...

    The file's outputs are compared with the model's before it is written.
    """
    if format not in _FORMATS:
        hint = did_you_mean(format, _FORMATS) or f"; there are {', '.join(_FORMATS)}"
        raise ConfigError(f"--format: unknown format '{format}'{hint}")
    from cnnrun.evaluation import export as exports
    from cnnrun.evaluation.export_formats import FORMATS
    from cnnrun.evaluation.loading import open_trained

    chosen: Any = format
    plugins = plugin or []
    _, parts, checkpoint = open_trained(target, plugins, "cpu")
    parts, missing = exports.with_data(target, parts, plugins)
    if missing:
        console.warn(f"compared on random images, as the data can't be read: {missing}")
    name = Path(parts.experiment.name + FORMATS[format].ending)
    file = output / name if output and output.is_dir() else output or name
    done = exports.export(parts, checkpoint, chosen, file, preprocessing)
    if as_json:
        console.out(to_json({**asdict(done), "file": str(done.file)}))
        return
    kind = "test images" if done.real else "random images"
    console.warn(
        f"compared on {done.images} {kind}: outputs differ by {done.largest_difference:.2g} "
        "at most",
    )
    console.out(done.file)
