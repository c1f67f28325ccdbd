"""SECURITY.md promises nothing that no test holds it to."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "SECURITY.md").read_text()
# `folder/test_file.py`, or `tests/*/test_fuzz_*.py` as a pattern.
NAMED = sorted(set(re.findall(r"`(?:tests/)?([\w*]+/test_[\w*]+\.py)`", TEXT)))


def _rows() -> list[list[str]]:
    """The cells of the lines of the table whose last column names tests."""
    table = TEXT.split("| file | how it is read | test |\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0][:30])
def test_each_line_of_the_table_names_its_tests(row: list[str]) -> None:
    assert len(row) == 3
    assert re.search(r"`\w+/test_\w+\.py`", row[2]), row


@pytest.mark.parametrize("name", NAMED)
def test_each_test_that_is_named_is_there(name: str) -> None:
    found = list((REPOSITORY / "tests").glob(name))
    assert found, name
    for file in found:
        assert re.search(r"^def test_", file.read_text(), re.M), file


def test_modules_that_are_named_are_there() -> None:
    modules = re.findall(r"`(cnnrun/[\w/]+\.py)`", TEXT)
    assert modules
    for module in modules:
        assert (REPOSITORY / module).is_file(), module
