"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.forking import Forks, forks


@pytest.fixture(scope="session")
def forked() -> Iterator[Forks]:
    """Starts commands without the seconds of imports."""
    with forks() as found:
        yield found
