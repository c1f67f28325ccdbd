"""`cnnrun list`, `data` and `describe`: what there is, before training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cnnrun.cli.app import AsJson, Output, Overrides, Plugins, app
from cnnrun.cli.completion import complete_config
from cnnrun.cli.help_text import examples
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json

if TYPE_CHECKING:
    from cnnrun.evaluation.label_errors import Suspects


@app.command(
    "list", epilog=examples("cnnrun list", "cnnrun list model", "cnnrun list optimizer sgd")
)
def list_components(
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            help="A kind: dataset, model, loss, plot ..., or experiment, study, sweep.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="One of that kind, with all its parameters.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """List components, and shipped configs, studies and sweeps.

    A component is what a config can name: a dataset, a model, a loss ...
    """
    from cnnrun.config import listing
    from cnnrun.config.plugins import load_plugins

    load_plugins(plugin or [])
    found = listing.components(kind, name)
    console.out(
        to_json(found, indent=2) if as_json else listing.to_text(found, full=bool(name)),
        fit=not as_json,
    )


@app.command(epilog=examples("cnnrun describe mine.yaml", "cnnrun describe RUN -o network.png"))
def describe(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|RUN|CHECKPOINT",
            help="A config file or its name, a run or a checkpoint.",
        ),
    ],
    overrides: Overrides = None,
    as_json: AsJson = False,
    output: Output = None,
    plugin: Plugins = None,
) -> None:
    """Describe a model: layers, shapes, parameters, MACs.

    Also the receptive field of each layer; `-o` draws it.
    """
    from cnnrun.evaluation.loading import model_of
    from cnnrun.models.description.layer_table import WIDTH
    from cnnrun.models.description.trace import describe

    description = describe(*model_of(target, overrides or [], plugin or []))
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    text = to_json(description.to_dict()) if as_json else description.to_text(width)
    console.out(text, fit=not as_json)
    if output is not None:
        from cnnrun.plots.drawing.diagram import draw_diagram
        from cnnrun.plots.style import save

        save(draw_diagram(description), output)


@app.command("data", epilog=examples("cnnrun data mine.yaml", "cnnrun data digits_cnn -o data.png"))
def data_report(
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(
            help="A config file, or the name of a shipped one (`cnnrun list`).",
            metavar="CONFIG",
            show_default=False,
            autocompletion=complete_config,
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    output: Output = None,
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="RUN|CROSSVAL",
            help="List likely label errors, by a run or the folder of a cross-validation.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Inspect the data: classes, duplicates, leakage.

    Also the sizes and values of pixels, and files that can't be read; with --model, labels that
    may be wrong.
    """
    if config is None and model is None:
        raise ConfigError("data: name a config, or a run by --model")
    suspected = _suspects(model, config, overrides or [], plugin or []) if model else None
    if config is None:
        assert suspected
        console.out(to_json(_plain(suspected)) if as_json else suspected.to_text(), fit=not as_json)
        return
    from cnnrun.config.experiment import load
    from cnnrun.data.inspection.report import report
    from cnnrun.data.inspection.text import to_text
    from cnnrun.engine.build_data import build_dataset
    from cnnrun.runtime.long_work import Progress

    # Bad files are what the report is for: they are listed and don't end it.
    complete = ["dataset.on_error=skip", "dataset.check=all"]
    experiment = load(config, [*(overrides or []), *complete], plugin or [])
    dataset = build_dataset(experiment)
    found = report(dataset, Progress())
    if suspected and as_json:
        found |= _plain(suspected)
    console.out(to_json(found) if as_json else to_text(found), fit=not as_json)
    if suspected and not as_json:
        console.out(f"\n{suspected.to_text()}", fit=True)
    if output is not None:
        from cnnrun.data.inspection.examples import example_pairs
        from cnnrun.plots.drawing.data_report import draw_data_report
        from cnnrun.plots.style import save

        pairs, captions = example_pairs(dataset, found)
        save(draw_data_report(found, pairs, captions, title=experiment.name), output)


def _suspects(
    model: Path, config: Path | None, overrides: list[str], plugins: list[str]
) -> Suspects:
    from cnnrun.evaluation.label_errors import suspects

    return suspects(model, [] if config else overrides, plugins)[0]


def _plain(found: Suspects) -> dict[str, Any]:
    return {"suspects": found.rows, "looked_at": found.looked_at, "source": found.source}
