"""JSON that every reader takes: no NaN, no Infinity, wherever it is printed or written."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnrun.runtime.strict_json import to_json
from tests.conftest import REPOSITORY

# What is no JSON for others: YAML in one line, hashes, talk between processes.
_OWN_USE = {
    "runtime/strict_json.py",
    *("config/identity.py", "config/template.py", "config/trust.py", "multirun/settings.py"),
    *("multirun/sweep/plan.py", "engine/auto_speed.py"),
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def strict(text: str) -> Any:
    """What a reader that knows the standard alone makes of it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.slow
@given(VALUES)
def test_any_value_is_written_so_that_it_can_be_read(value: Any) -> None:
    text = to_json(value)
    assert strict(text) == json.loads(json.dumps(value), parse_constant=lambda _: None)


def test_finite_values_are_written_as_python_writes_them() -> None:
    value = {"a": [1, 2.5, None, True, "ä"], "b": {"c": 1e-300}}
    assert to_json(value) == json.dumps(value)
    assert to_json(value, indent=2) == json.dumps(value, indent=2)


def test_nothing_else_in_the_package_makes_json() -> None:
    package, found = REPOSITORY / "cnnrun", set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("dumps", "dump"):
                name = node.value.id if isinstance(node.value, ast.Name) else ""
                found |= {file.relative_to(package).as_posix()} if name == "json" else set()
    assert found == _OWN_USE
