"""Commands of the process that forks (`tests.quick_shell`), to be watched and stopped."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from tests.quick_client import ask, line
from tests.quick_shell import address_of


class Fork:
    """`cnnrun ARGUMENTS` in `folder`, with the names of `subprocess.Popen`.

    scripts: the folder of the scripts behind which the process forks.
    """

    returncode: int | None = None

    def __init__(self, scripts: Path, folder: Path, *arguments: object) -> None:
        self._out, self._err = folder / ".out", folder / ".err"
        command = ["cnnrun", *map(str, arguments)]
        with (
            Path(os.devnull).open() as none,
            self._out.open("w") as out,
            self._err.open("w") as err,
        ):
            streams = {0: none.fileno(), 1: out.fileno(), 2: err.fileno()}
            self._server, self.pid = ask(
                address_of(scripts), command, str(folder), dict(os.environ), streams
            )

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(line(self._server))
            self._server.close()
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        # It may end between the question and the signal.
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def communicate(self, timeout: float = 0) -> tuple[str, str]:  # noqa: ARG002 (Popen has it)
        self.wait()
        return self._out.read_text(), self._err.read_text()
