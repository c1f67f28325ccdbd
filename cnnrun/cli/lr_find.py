"""`cnnrun lr-find`: a learning rate to begin with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cnnrun.cli.app import AsJson, Config, Output, Overrides, Plugins, app
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json


@app.command("lr-find")
def lr_find(
    config: Config,
    overrides: Overrides = None,
    least: Annotated[float, typer.Option(help="The rate to begin with.")] = 1e-6,
    greatest: Annotated[float, typer.Option(help="The rate to end with.")] = 10.0,
    steps: Annotated[int, typer.Option(min=10, help="Steps to try.")] = 100,
    as_json: AsJson = False,
    output: Output = None,
    plugin: Plugins = None,
) -> None:
    """Try rising learning rates on an experiment and suggest one; nothing is kept."""
    if not 0 < least < greatest:
        raise ConfigError("--least must be above 0 and below --greatest")
    from cnnrun.config.experiment import load
    from cnnrun.engine import lr_finder

    experiment = load(config, overrides or [], plugin or [])
    found = lr_finder.find_rate(experiment, least, greatest, steps)
    marks = [("steepest fall", found.steepest), ("a tenth of the least", found.tenth_of_least)]
    if output is not None:
        from cnnrun.plots.drawing.lr_curve import draw_lr_curve
        from cnnrun.plots.style import save

        title = f"Learning rates ({experiment.name})"
        save(draw_lr_curve(found.rates, found.losses, found.smooth, marks, title), output)
    values = {"steepest": found.steepest, "tenth_of_least": found.tenth_of_least}
    if as_json:
        console.out(to_json({"suggestion": found.suggestion, **values, **asdict(found)}))
    else:
        console.out(lr_finder.in_words(found))
