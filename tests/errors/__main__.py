"""Prints `docs/errors.md`."""

from tests.errors.page import page

print(page(), end="")
