"""`cnnrun new` and `cnnrun schema`: help with writing experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cnnrun.cli.app import Overrides, Plugins, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json

_File = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", help="File to write.", metavar="FILE"),
]


@app.command(
    epilog=examples(
        "cnnrun new mine",
        "cnnrun new photos --dataset folder --model torchvision/resnet18 dataset.root=photos",
    )
)
def new(
    name: Annotated[str, typer.Argument(help="Name of the experiment, or of its file.")],
    overrides: Overrides = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="TASK", help="classify, multilabel, regress, segment, reconstruct or stylize."
        ),
    ] = "classify",
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Data set to start with (`cnnrun list dataset`)."),
    ] = None,
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Model to start with (`cnnrun list model`)."),
    ] = None,
    output: _File = None,
    plugin: Plugins = None,
) -> None:
    """Write a commented config to start from.

    It holds every key with its meaning; defaults are commented out.
    """
    from cnnrun.config.template import new_experiment
    from cnnrun.runtime.files import write_text

    if Path(name).suffix in (".yaml", ".yml"):
        file, name = output or Path(name), Path(name).stem
    else:
        file = output or Path(f"{name}.yaml")
    if file.exists():
        raise ConfigError(f"{file} already exists; choose another name, or a file with -o FILE")
    text = new_experiment(name, task, dataset, model, overrides or [], plugin or [])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text)
    console.warn(f"`cnnrun check {file}` tries it, `cnnrun train {file}` trains it")
    console.out(file)


@app.command(epilog=examples("cnnrun schema -o cnnrun.schema.json"))
def schema(output: _File = None, plugin: Plugins = None) -> None:
    """Write the JSON Schema of configs, for editors.

    It gives completion and hover text in editors that know yaml-language-server.
    """
    from cnnrun.config.json_schema import experiment_schema
    from cnnrun.config.plugins import load_plugins
    from cnnrun.runtime.files import write_text

    load_plugins(plugin or [])
    text = to_json(experiment_schema(), indent=1, ensure_ascii=False) + "\n"
    if output is None:
        console.out(text, end="")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, text)
    console.warn(
        "the first line of a config points an editor (yaml-language-server) to it:\n"
        f"# yaml-language-server: $schema={output.resolve()}",
    )
    console.out(output)
