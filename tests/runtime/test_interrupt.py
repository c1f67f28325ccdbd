"""Signals ask first and leave then, finish what is being written, and keep away from threads."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cnnrun.cli.words import Group
from cnnrun.runtime import interrupt
from cnnrun.runtime.interrupt import Leave, held, nothing_to_save, signals_handled, stop_on_signals
from tests.conftest import Command

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    yield
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_first_asks_and_the_second_leaves(number: int, code: int) -> None:
    with stop_on_signals() as stop:
        assert not stop
        _send(number)
        assert stop
        assert stop.exit_code == code
        with pytest.raises(Leave) as left:
            _send(number)
        assert left.value.exit_code == code


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_outside_a_run_the_first_leaves(number: int, code: int) -> None:
    with signals_handled():
        with pytest.raises(Leave) as left:
            _send(number)
        assert left.value.exit_code == interrupt.left_by() == code


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_what_is_being_written_is_finished(number: int, code: int) -> None:
    done = []
    with stop_on_signals() as stop:
        with pytest.raises(Leave) as left, held():  # noqa: PT012
            with held():
                _send(number)
                done.append(stop.signal)
                _send(number)
                _send(number)
            done.append("inner")
            done.append("written")
        assert left.value.exit_code == code
    assert done == [number, "inner", "written"]


def test_where_nothing_is_to_be_saved_the_first_leaves() -> None:
    with stop_on_signals() as stop:
        with pytest.raises(Leave), nothing_to_save():
            _send(signal.SIGTERM)
        assert not stop
        _send(signal.SIGINT)
        assert stop
        with pytest.raises(Leave) as left, nothing_to_save():
            pytest.fail("it was asked to stop before")
        assert left.value.exit_code == 130


def test_a_library_that_swallows_it_can_not_make_it_unsaid() -> None:
    with signals_handled():
        with contextlib.suppress(BaseException):  # as some imports do
            _send(signal.SIGINT)
        with pytest.raises(Leave), stop_on_signals():
            pytest.fail("it was told to leave")
    with signals_handled(), stop_on_signals() as stop:  # the next command was not
        assert not stop


def test_nohup_stays() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_handled(), stop_on_signals() as stop:
            _send(signal.SIGHUP)
            assert not stop
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_threads_have_no_signals() -> None:
    found = []

    def work() -> None:
        with signals_handled(), stop_on_signals() as stop, nothing_to_save(), held():
            found.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("swallow", [False, True])
def test_the_command_ends_with_the_signal_s_code(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, number: int, code: int, swallow: bool
) -> None:
    """Also where a library makes another exception of it, as torch's writer of archives does."""
    from cnnrun.config import listing

    def listed(*_: object, **__: object) -> None:
        try:
            _send(number)
        except Leave as error:
            if not swallow:
                raise
            raise RuntimeError("unexpected pos 64 vs 0") from error

    monkeypatch.setattr(listing, "to_text", listed)
    ended = cnnrun("list")
    assert (ended.code, ended.err) == (code, "error: interrupted\n")


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_command_line_is_read(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    monkeypatch.setattr(Group, "parse_args", lambda *_: _send(number))
    ended = cnnrun("list")
    assert (ended.code, ended.err) == (code, "error: interrupted\n")
