"""`cnnrun train` and `cnnrun check`: an experiment to a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cnnrun.cli.app import AsJson, Config, Overrides, Plugins, app, importing
from cnnrun.cli.completion import complete_config
from cnnrun.cli.help_text import examples
from cnnrun.cli.seeds import METAVAR, chosen_seeds
from cnnrun.errors import ConfigError
from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json

if TYPE_CHECKING:
    from cnnrun.runs.directory import RunDirectory


Experiment = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Argument(
        help="A config file, or the name of a shipped one (`cnnrun list`).",
        metavar="CONFIG",
        show_default=False,
        autocompletion=complete_config,
    ),
]
Resume = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Resume a run that was stopped, or train it for longer.", metavar="RUN"),
]
ResumeOrStart = Annotated[
    bool,
    typer.Option(
        "--resume-or-start", help="Resume the same experiment if there is a run of it, else start."
    ),
]
Seeds = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar=METAVAR, help="Train N random seeds, or those listed, together in one process."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress; print the run directory only.")
]


@app.command(
    epilog=examples(
        "cnnrun train digits_cnn",
        "cnnrun train mine.yaml optimizer.lr=0.01 training.epochs=30",
        "cnnrun train mine.yaml --seeds 5",
        "cnnrun train --resume RUN training.epochs=60",
        "RUN=$(cnnrun train mine.yaml -q)",
        "torchrun --nproc-per-node 2 -m cnnrun train mine.yaml",
    )
)
def train(
    config: Experiment = None,
    overrides: Overrides = None,
    resume: Resume = None,
    resume_or_start: ResumeOrStart = False,
    seeds: Seeds = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Train an experiment; writes a new run directory.

    It holds the config with all defaults, the log, checkpoints, plots and the test scores. Ctrl-C
    saves the state; `--resume` continues from it, bit for bit.
    """
    changes = list(overrides or [])
    if resume and config is not None and "=" in str(config):
        # With --resume the first argument is already a change.
        changes, config = [str(config), *changes], None
    if (config is None) == (resume is None):
        raise ConfigError("name a config file, or a run with --resume RUN")
    plugins = plugin or []
    if seeds is not None:
        if config is None or resume_or_start:
            raise ConfigError("--seeds starts new runs: give it a config file, without --resume")
        _train_seeds(config, changes, plugins, seeds, quiet, as_json)
        return
    if not quiet:
        console.stage("importing")
    with importing():
        from cnnrun import runner
        from cnnrun.config.experiment import load
        from cnnrun.runtime.distributed import was_restarted, world

        experiment = load(config, changes, plugins) if config else None
    if experiment is None:
        assert resume is not None
        run = runner.resume(resume, changes, plugins, quiet)
    elif resume_or_start or was_restarted():
        run = runner.resume_or_start(experiment, quiet)
    else:
        run = runner.train(experiment, quiet)
    if world().is_main:
        _print_run(run, quiet, as_json)


def _train_seeds(
    config: Path, changes: list[str], plugins: list[str], seeds: str, quiet: bool, as_json: bool
) -> None:
    from cnnrun.config.experiment import load
    from cnnrun.runner.train_seeds import train_seeds

    chosen = chosen_seeds(seeds, load(config, changes, plugins).seed)
    experiments = [load(config, [*changes, f"seed={seed}"], plugins) for seed in chosen]
    for run in train_seeds(experiments, quiet):
        _print_run(run, quiet, as_json)


def _print_run(run: RunDirectory, quiet: bool, as_json: bool) -> None:
    """Print a finished run: as JSON, as its directory only, or as text."""
    if as_json:
        console.out(to_json({"run": str(run.path), **run.read_summary()}))
    elif quiet:
        console.out(run.path)
    else:
        _print_summary(run.path, run.read_summary())


def _print_summary(path: Path, summary: dict[str, Any]) -> None:
    from cnnrun.runtime.epoch_table import duration

    console.out(f"run       {path}")
    if isinstance(summary.get("test"), dict) and summary["test"]:
        console.out(f"test      {_scores(summary)}")
    for plot in sorted((path / "plots").glob("*.png")):
        console.out(f"plot      {plot}")
    if console.stderr.isatty():
        spent = duration(summary["seconds"])
        console.note(f"{spent} in total; next:\n  cnnrun eval {path}\n  cnnrun report {path}")


def _scores(summary: dict[str, Any]) -> str:
    """The test scores, as many to a line as the terminal has room for."""
    from cnnrun.metrics import described, read_metrics
    from cnnrun.runtime.text_table import wrapped

    declared = read_metrics(summary.get("metrics"))
    metrics = {name: described(name, declared) for name in summary["test"]}
    scores = [f"{m.display_name} {m.text(summary['test'][n])}" for n, m in metrics.items()]
    scores[:-1] = [f"{text}," for text in scores[:-1]]
    return wrapped([*scores, f"({_tested(summary)})"], console.width(), indent=10)


def _tested(summary: dict[str, Any]) -> str:
    chosen = any(key.startswith("validation_") for key in summary.get("best") or {})
    return f"epoch {summary.get('best_epoch')}, the {'best by validation' if chosen else 'last'}"


@app.command(epilog=examples("cnnrun check mine.yaml", "cnnrun check mine.yaml device=cuda:0"))
def check(config: Config, overrides: Overrides = None, plugin: Plugins = None) -> None:
    """Validate a config and run one batch; writes nothing.

    Also prints the model's size and how long an epoch takes.
    """
    from cnnrun import runner
    from cnnrun.config.experiment import load

    for key, value in runner.check(load(config, overrides or [], plugin or [])).items():
        if isinstance(value, dict):
            texts = {n: f"{v:,}" if isinstance(v, int) else v for n, v in value.items()}
            value = ", ".join(f"{name} {text}" for name, text in texts.items())
        console.out(f"{key:12}{value:,}" if isinstance(value, int) else f"{key:12}{value}")
