"""The command line: parse, call one function, print. Imports nothing heavy before it must.

stdout is data, stderr is progress and errors. Exit codes: 0 done, 2 wrong usage or config,
130 and 143 interrupted (SIGINT, SIGTERM) with the state saved, 1 the rest.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from cnnrun import __version__
from cnnrun.errors import ConfigError, UserError

app = typer.Typer(
    name="cnnrun",
    help="An experiment runner for convolutional networks: one YAML file is one experiment.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[Path, typer.Argument(help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Argument(help="Changes to it, e.g. optimizer.lr=0.1", metavar="[KEY=VALUE]..."),
]
Plugins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--plugin", help="A Python file that registers components.", metavar="FILE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", help="The PNG to write.", metavar="FILE"),
]
TrainedTarget = Annotated[
    Path, typer.Argument(metavar="RUN|CHECKPOINT", help="A run directory or a checkpoint file.")
]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (any command).")
    ] = False,
) -> None:
    """An experiment runner for convolutional networks: one YAML file is one experiment."""


@app.command()
def train(
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="The experiment's YAML file.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Go on with this run instead.", metavar="RUN"),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the run directory alone.")
    ] = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Train an experiment; leaves checkpoints, log and pictures in a new run directory."""
    if (config is None) == (resume is None):
        raise ConfigError("name an experiment's YAML file, or a run with --resume RUN")
    from cnnrun import runner
    from cnnrun.config import load

    if resume:
        run = runner.resume(resume, plugin or [], quiet)
    else:
        assert config is not None
        run = runner.train(load(config, overrides or [], plugin or []), quiet)
    if quiet:
        print(run.path)
    elif as_json:
        print(json.dumps({"run": str(run.path), **run.read_summary()}))
    else:
        _print_summary(run.path, run.read_summary())


def _print_summary(path: Path, summary: dict[str, Any]) -> None:
    test = summary["test"]
    print(f"run       {path}")
    if test:
        print(
            f"test      accuracy {100 * test['accuracy']:.2f} %, loss {test['loss']:.4f} "
            f"(epoch {summary['best_epoch']}, the best by validation)"
        )
    for picture in sorted((path / "plots").glob("*.png")):
        print(f"picture   {picture}")


@app.command()
def check(config: Config, overrides: Overrides = None, plugin: Plugins = None) -> None:
    """Validate an experiment, build it and run one batch; leaves nothing behind."""
    from cnnrun import runner
    from cnnrun.config import load

    for key, value in runner.check(load(config, overrides or [], plugin or [])).items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number:,}" for name, number in value.items())
        print(f"{key:12}{value:,}" if isinstance(value, int) else f"{key:12}{value}")


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
def describe(
    target: Annotated[
        Path, typer.Argument(metavar="CONFIG|RUN|CHECKPOINT", help="What names the network.")
    ],
    overrides: Overrides = None,
    as_json: AsJson = False,
    output: Output = None,
    plugin: Plugins = None,
) -> None:
    """Describe a network layer by layer: shapes, receptive fields, parameters, multiply-adds."""
    from cnnrun.describe import describe
    from cnnrun.evaluation import model_of

    description = describe(*model_of(target, overrides or [], plugin or []))
    print(json.dumps(description.to_dict()) if as_json else description.as_text())
    if output is not None:
        from cnnrun.plots.diagram import draw_diagram
        from cnnrun.plots.style import save

        save(draw_diagram(description), output)


@app.command("data")
def data_report(
    config: Config,
    overrides: Overrides = None,
    as_json: AsJson = False,
    output: Output = None,
    plugin: Plugins = None,
) -> None:
    """Report on an experiment's data: classes, pixels, bad files, duplicates, leakage."""
    from cnnrun.build import build_dataset
    from cnnrun.config import load
    from cnnrun.data.report import report
    from cnnrun.data.report_text import as_text

    # Bad files are what the report is for: they are listed, not the end of it.
    experiment = load(config, [*(overrides or []), "dataset.on_error=skip"], plugin or [])
    dataset = build_dataset(experiment)
    found = report(dataset)
    print(json.dumps(found) if as_json else as_text(found))
    if output is not None:
        from cnnrun.data.report_examples import example_pairs
        from cnnrun.plots.data_report import draw_data_report
        from cnnrun.plots.style import save

        pairs, captions = example_pairs(dataset, found)
        save(draw_data_report(found, pairs, captions, title=experiment.name), output)


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


@app.command("list")
def list_components(
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="dataset, model, loss ...", show_default=False),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="One component.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Show what can be named in an experiment, with parameters, types and defaults."""
    from cnnrun import listing
    from cnnrun.plugins import load_plugins

    load_plugins(plugin or [])
    found = listing.components(kind, name)
    print(json.dumps(found, indent=2) if as_json else listing.as_text(found, full=bool(name)))


def main() -> None:
    """Run the command line; errors become one message and an exit code."""
    # Idle OpenMP threads spin for milliseconds by default. Three runs side by side on two cores
    # then get 300 images/s each instead of 1,700; a run alone loses nothing that shows.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="cnnrun")
    except UserError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _fail("interrupted", 130, debug)
    except BrokenPipeError:
        # The reader (`| head`) has what it wants; python would complain while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if debug:
            raise
        _fail(f"{_in_words(error)}\n  (a bug or a broken machine: --debug shows where)", 1, debug)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
