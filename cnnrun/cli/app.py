"""The Typer application, and the arguments and options that several commands have."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar

import typer
from typer.core import TyperCommand

from cnnrun.cli.completion import complete_config, complete_override
from cnnrun.cli.help_text import examples, write_parameters, write_usage
from cnnrun.cli.words import Group
from cnnrun.errors import Interrupted
from cnnrun.runtime import console
from cnnrun.runtime.interrupt import Leave, held
from cnnrun.runtime.launched import warn_of_copies, works_here
from cnnrun.runtime.paths import expanded
from cnnrun.version import __version__

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command that expands `~`, knows its process among many, and keeps stdout clean."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        write_usage(self, ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_parameters(self, ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        if ctx.info_name == "train":
            warn_of_copies()
        elif not works_here(ctx.info_name):
            return None
        ctx.params = {name: _expanded(value) for name, value in ctx.params.items()}
        try:
            with console.only_results_on_stdout():
                return super().invoke(ctx)
        except Leave as left:  # Typer would make any KeyboardInterrupt a silent exit with 130
            raise Interrupted("interrupted", left.exit_code) from left


def _expanded(value: Any) -> Any:
    """Expand the paths among a command's parameters: shells leave `--output=~/x` alone."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_expanded, value))
    return expanded(value) if isinstance(value, Path) else value


class App(typer.Typer):
    """Typer with such commands."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[_Function], _Function]:
        return super().command(*arguments, **{"cls": Command, **options})


app = App(
    name="cnnrun",
    cls=Group,
    epilog=examples(
        "cnnrun new mine                       # a commented config: mine.yaml",
        "cnnrun train mine.yaml                # a run directory below runs/",
        "cnnrun train mine.yaml optimizer.lr=0.1 training.epochs=5",
        "cnnrun eval RUN; cnnrun report RUN    # scores; an HTML page",
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[
    Path,
    typer.Argument(
        help="A config file, or the name of a shipped one (`cnnrun list`).",
        metavar="CONFIG",
        show_default=False,
        autocompletion=complete_config,
    ),
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Argument(
        help="Settings to override, e.g. optimizer.lr=0.1",
        metavar="[KEY=VALUE]...",
        autocompletion=complete_override,
    ),
]
Plugins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--plugin",
        help="Python file that registers your own components; repeatable.",
        metavar="FILE",
    ),
]
Storage = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--storage", help="Database of a sweep's trials, if not in its folder.", metavar="URL"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", help="Image to write: .png, .pdf or .svg.", metavar="FILE"),
]
TrainedTarget = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|CHECKPOINT",
        help="A run directory, a checkpoint file, or a pretrained network (torchvision/resnet18).",
    ),
]


@contextmanager
def importing() -> Iterator[None]:
    """Import within without garbage collection: there is no garbage, and it takes 0.3 s.

    What was imported is not scanned later either, e.g. between training steps. A Ctrl-C waits for
    the end: some libraries take any exception for a missing module.
    """
    gc.disable()
    try:
        with held():
            yield
        gc.freeze()
    finally:
        gc.enable()


def _version(wanted: bool) -> None:
    if wanted:
        console.out(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train and study convolutional networks: one YAML file is one experiment."""
