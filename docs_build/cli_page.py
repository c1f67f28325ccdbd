"""`docs/reference/cli.md`: every command, from the Typer application itself."""

from __future__ import annotations

from typing import Any

import typer

from cnnrun.cli import app
from docs_build.tables import cell, code, value

_HEAD = """\
# Commands

Every command with its arguments and options. `cnnrun COMMAND --help` prints the same.
`cnnrun --install-completion` adds completion of commands, keys and values to your shell.

Results go to stdout, progress and errors to stderr. With `-q`, `train` prints the run directory alone; with `--json`, a
command prints a JSON object. Exit codes: 0 success; 2 wrong usage or an invalid config; 130, 143 and 129 interrupted
by Ctrl-C, SIGTERM and SIGHUP with the state saved; 1 any other error.
"""
# Their texts change with typer and the shell.
_TYPERS_OWN = ("install_completion", "show_completion")


def page() -> str:
    """The whole page, as Markdown."""
    group: Any = typer.main.get_command(app)
    parts = [_HEAD, "## cnnrun", "", *_options(group)]
    for name, command in group.commands.items():
        parts += [f"## {name}", "", *_command(name, command)]
    return "\n".join(parts)


def _command(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["cnnrun", name, *map(_shown, arguments), "[OPTIONS]"])
    lines = [command.help.replace("\n", " "), "", "```text", usage, "```", ""]
    if arguments:
        rows = [f"| {code(_name(p))} | {cell(p.help or '')} |" for p in arguments]
        lines += ["| argument | |", "|---|---|", *rows, ""]
    return lines + _options(command)


def _options(command: Any) -> list[str]:
    rows = []
    for option in command.params:
        if option.param_type_name != "option" or option.hidden or option.name in _TYPERS_OWN:
            continue
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        kind = "" if option.is_flag else f" {code(_name(option))}"
        rows.append((f"{names}{kind}", _default(option), cell(option.help or "")))
    if not rows:
        return []
    if any(default for _, default, _ in rows):
        table = ["| option | default | |", "|---|---|---|"]
        return [*table, *(f"| {' | '.join(row)} |" for row in rows), ""]
    return ["| option | |", "|---|---|", *(f"| {row[0]} | {row[2]} |" for row in rows), ""]


def _name(parameter: Any) -> str:
    """What stands for its value: `FILE`, say."""
    return str(parameter.metavar or parameter.name.upper())


def _shown(argument: Any) -> str:
    name = _name(argument)
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _default(option: Any) -> str:
    given = option.default
    return "" if given in (None, False, ()) or callable(given) else f"`{value(given)}`"
