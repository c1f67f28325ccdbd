"""SIGINT (Ctrl-C), SIGTERM and SIGHUP: the first asks a run to stop and save, the second leaves.

Outside a run there is nothing to save, and the first one leaves. A file that is being written is
finished first: no signal ends a process within `held`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cnnrun.runtime import console

# Windows has no SIGHUP.
_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Leave(KeyboardInterrupt):
    """A signal ends the command at once.

    exit_code: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP, as shells count.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP, as shells count."""
        return 128 + (self.signal or signal.SIGINT)


class _Signals:
    """The handler's state, of the main thread, as only that one gets signals."""

    def __init__(self) -> None:
        self.request: StopRequest | None = None
        self.holds = 0
        self.waiting: int | None = None
        # The signal by which `Leave` was raised, even if a library swallowed it.
        self.left: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.request is not None and not self.request:
            self.request.signal = number
            console.warn("\nstopping after this step; press again to exit at once")
        elif self.holds:
            self.waiting = number
            console.warn("\nexiting as soon as the file is written")
        else:
            self.leave(number)

    def leave(self, number: int) -> None:
        self.waiting, self.left = None, number
        raise Leave(number)


_signals = _Signals()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def signals_handled() -> Iterator[None]:
    """Within the block, signals are handled as this module says; not in threads. What `nohup`

    ignores stays ignored.
    """
    handlers = {number: signal.getsignal(number) for number in _NUMBERS}
    ours = signal.getsignal(signal.SIGINT) == _signals.handle
    if ours or not _in_main_thread():
        yield
        return
    _signals.left = _signals.waiting = None
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and handlers[hangup] is signal.SIG_IGN:
        del handlers[hangup]
    for number in handlers:
        signal.signal(number, _signals.handle)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            # None: a handler not set from Python, which can't be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def silent_interrupts() -> Iterator[None]:
    """Where nothing is to be saved yet, or any more: Ctrl-C ends the process without a traceback.

    A block that is left by an exception, as SystemExit, leaves it so to the end of the process.
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, the first signal sets the request instead of interrupting a step.

    In a thread no signal arrives; the request is never set.
    """
    request = StopRequest()
    if not _in_main_thread():
        yield request
        return
    with signals_handled():
        if _signals.left is not None:
            _signals.leave(_signals.left)
        before, _signals.request = _signals.request, request
        try:
            yield request
        finally:
            _signals.request = before


@contextmanager
def nothing_to_save() -> Iterator[None]:
    """A part of the block of `stop_on_signals` whose work can be redone: a signal leaves at once.

    Raises:
        Leave: a signal has come, perhaps before.
    """
    if not _in_main_thread():
        yield
        return
    request, _signals.request = _signals.request, None
    try:
        if request is not None and request.signal is not None:
            _signals.leave(request.signal)
        yield
    finally:
        _signals.request = request


@contextmanager
def held() -> Iterator[None]:
    """Within the block no signal interrupts the work; one that arrived takes effect at its end."""
    if not _in_main_thread():
        yield
        return
    _signals.holds += 1
    try:
        yield
    finally:
        _signals.holds -= 1
    if _signals.waiting is not None and not _signals.holds:
        _signals.leave(_signals.waiting)


def left_by() -> int | None:
    """The exit code of the signal that ended the command, if one did."""
    return None if _signals.left is None else 128 + _signals.left
