"""Work that takes long says how far it is."""

from __future__ import annotations

import pytest

from cnnrun.runtime import console, long_work
from cnnrun.runtime.long_work import Progress, with_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(long_work.time, "monotonic", lambda: now[0])
    return now


def test_nothing_is_said_before_two_seconds_and_then_a_line_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    for second in range(101):
        clock[0] = 100.0 + second
        progress("checking images", second * 1000, 100_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "checking images: 2,000 of 100,000, 1:38 min left"
    assert len(lines) == 4  # each half minute


def test_each_work_has_its_own_two_seconds_and_quiet_ones_say_nothing(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    for what in ("reading", "measuring", "reading"):
        for done in range(4):
            clock[0] += 0.6
            progress(what, done, 4)
        progress(what, 4, 4)
    assert not capsys.readouterr().err
    with console.quiet_if(True):
        for _ in with_progress("reading runs", range(9)):
            clock[0] += 5
    assert not capsys.readouterr().err
    for _ in with_progress("reading runs", range(2)):
        clock[0] += 5
    assert capsys.readouterr().err == "reading runs: 1 of 2, 5 s left\n"
