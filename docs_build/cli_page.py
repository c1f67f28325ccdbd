"""`docs/reference/cli.md`: every command, from the Typer application itself."""

from __future__ import annotations

from typing import Any

import typer

from cnnrun.cli import app
from docs_build.tables import cell, value

_HEAD = """\
# Commands

Every command with its arguments and options. Made from the code by `make docs`;
`cnnrun COMMAND --help` prints the same, and `cnnrun --install-completion` teaches your shell
commands, keys and values.

stdout is data, stderr is progress and errors. Exit codes: 0 done, 2 wrong usage or config, 130,
143 and 129 interrupted (Ctrl-C, SIGTERM, SIGHUP) with the state saved, 1 the rest.
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
        rows = [f"| `{cell(_name(p))}` | {cell(p.help or '')} |" for p in arguments]
        lines += ["| argument | |", "|---|---|", *rows, ""]
    return lines + _options(command)


def _options(command: Any) -> list[str]:
    rows = []
    for option in command.params:
        if option.param_type_name != "option" or option.name in _TYPERS_OWN:
            continue
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        kind = "" if option.is_flag else f" `{cell(_name(option))}`"
        rows.append(f"| {names}{kind} | {_default(option)} | {cell(option.help or '')} |")
    return ["| option | default | |", "|---|---|---|", *rows, ""] if rows else []


def _name(parameter: Any) -> str:
    """What stands for its value: `FILE`, say."""
    return str(parameter.metavar or parameter.name.upper())


def _shown(argument: Any) -> str:
    name = _name(argument)
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _default(option: Any) -> str:
    given = option.default
    return "" if given in (None, False, ()) or callable(given) else f"`{value(given)}`"
