"""Help pages: whole at 80 columns, with grouped options and examples that are commands."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer

from cnnrun.cli import app
from tests.conftest import Command

GROUP: Any = typer.main.get_command(app)


def test_every_command_is_summed_up_in_a_line_that_is_not_cut(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = cnnrun("--help").out
    commands = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in commands] == list(GROUP.commands)
    for line, command in zip(commands, GROUP.commands.values(), strict=True):
        assert line.endswith(command.help.partition("\n")[0])
        assert len(line) <= 80


@pytest.mark.parametrize("name", list(GROUP.commands))
def test_a_page_has_its_options_in_groups_and_examples(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = cnnrun(name, "-h").out
    assert page.startswith(f"Usage: cnnrun {name} ")
    assert page.index("Other:") < page.index("--help") < page.index("Examples:")
    assert not re.search(r"<\w", page)  # no Python type
    examples = page.partition("Examples:\n")[2].splitlines()
    assert examples
    for line in examples:
        assert "cnnrun" in line
        shlex.split(line, comments=True)
    for option in GROUP.commands[name].params:
        assert (option.help or "").endswith((".", "0.1", "model.name")), option.name
