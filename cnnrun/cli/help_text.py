"""The help page of a command: usage, arguments, options in groups, examples."""

from __future__ import annotations

from typing import Any

# The group of each option; others are the command's own.
_GROUPS = {
    "Output": ("as_json", "as_csv", "quiet", "output", "dry_run"),
    "Other": ("plugin", "storage", "version", "debug", "install_completion", "show_completion"),
}


def examples(*lines: str) -> str:
    """Command lines as the end of a help page."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def write_usage(command: Any, ctx: Any, formatter: Any) -> None:
    arguments = [_in_usage(p) for p in command.params if p.param_type_name == "argument"]
    formatter.write_usage(ctx.command_path, " ".join([*arguments, "[OPTIONS]"]))


def write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """The arguments, then the options by group; `--help` comes last."""
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    groups |= {name: [] for name in _GROUPS}
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "argument":
            groups["Arguments"].append((_value(parameter), parameter.help or ""))
        elif not parameter.hidden:
            groups[_group_of(parameter.name)].append(_option(parameter))
    for name, rows in groups.items():
        if rows:
            with formatter.section(name):
                formatter.write_dl(rows)


def _group_of(name: str) -> str:
    if name == "help":
        return "Other"
    return next((group for group, names in _GROUPS.items() if name in names), "Options")


def _option(option: Any) -> tuple[str, str]:
    # The short name first, as in `-o, --output FILE`.
    names = ", ".join(sorted(option.opts, key=len))
    shown = names if option.is_flag else f"{names} {_value(option)}"
    default = "" if option.is_flag or callable(option.default) else _default(option.default)
    return shown, f"{option.help or ''}{default}"


def _default(value: Any) -> str:
    return "" if value in (None, (), "") else f"  [default: {value}]"


def _value(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _in_usage(argument: Any) -> str:
    shown = _value(argument)
    return shown if argument.required or shown.startswith("[") else f"[{shown}]"
