"""`cnnrun lr-find`: a learning rate to start with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cnnrun.cli.app import AsJson, Config, Output, Overrides, Plugins, app
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json


@app.command(
    "lr-find", epilog=examples("cnnrun lr-find mine.yaml", "cnnrun lr-find mine.yaml -o lr.png")
)
def lr_find(
    config: Config,
    overrides: Overrides = None,
    least: Annotated[
        float, typer.Option(metavar="RATE", help="Lowest learning rate to try.")
    ] = 1e-6,
    greatest: Annotated[
        float, typer.Option(metavar="RATE", help="Highest learning rate to try.")
    ] = 10.0,
    steps: Annotated[int, typer.Option(metavar="N", min=10, help="Number of steps.")] = 100,
    as_json: AsJson = False,
    output: Output = None,
    plugin: Plugins = None,
) -> None:
    """Suggest a learning rate by a short range test.

    The learning rate rises from step to step while the loss is watched; nothing is kept.
    """
    if not 0 < least < greatest:
        raise ConfigError("--least must be above 0 and below --greatest")
    from cnnrun.config.experiment import load
    from cnnrun.engine import lr_finder

    experiment = load(config, overrides or [], plugin or [])
    found = lr_finder.find_rate(experiment, least, greatest, steps)
    marks = [("steepest descent", found.steepest), ("a tenth of the lowest", found.tenth_of_least)]
    if output is not None:
        from cnnrun.plots.drawing.lr_curve import draw_lr_curve
        from cnnrun.plots.style import save

        title = f"Learning rates ({experiment.name})"
        save(draw_lr_curve(found.rates, found.losses, found.smooth, marks, title), output)
    values = {"steepest": found.steepest, "tenth_of_least": found.tenth_of_least}
    console.out(
        to_json({"suggestion": found.suggestion, **values, **asdict(found)})
        if as_json
        else lr_finder.to_text(found),
        fit=not as_json,
    )
