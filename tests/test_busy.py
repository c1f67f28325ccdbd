"""The load that `make test-busy` puts on the machine during the tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.busy import busy_loops
from tests.conftest import REPOSITORY


def test_loops_run_while_they_are_wanted_and_no_longer() -> None:
    with busy_loops(2) as loops:
        assert [loop.poll() for loop in loops] == [None, None]
    assert all(loop.returncode is not None for loop in loops)


def test_loops_end_when_the_tests_fail() -> None:
    def fail() -> None:
        with busy_loops(1) as loops:
            started.extend(loops)
            raise ValueError("a test failed")

    started: list[subprocess.Popen[bytes]] = []
    with pytest.raises(ValueError, match="a test failed"):
        fail()
    assert [loop.returncode is not None for loop in started] == [True]


def test_loops_end_when_whoever_started_them_is_killed() -> None:
    code = "import os; from tests.busy import busy_loops\nwith busy_loops(2): os._exit(7)"
    # Loops that went on would keep its output open, and it would not end here.
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True)
    assert ended.returncode == 7
