"""`cnnrun` without the seconds of imports: a process that has them forks for each command.

The fork has its own process id, folder, arguments and streams, and calls the very `main` that the
installed command calls; only what Python had imported by then is shared.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REPOSITORY = Path(__file__).parent.parent.parent


class Forks:
    """Starts commands, one at a time."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, folder: Path, *arguments: object) -> Fork:
        request = {"arguments": [*map(str, arguments)], "folder": str(folder)}
        self._tell(json.dumps(request))
        return Fork(self, folder, int(self.hear()))

    def _tell(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def hear(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the forking process has ended"
        return line

    def has_news(self) -> bool:
        return bool(select.select([self._server.stdout], [], [], 0)[0])


class Fork:
    """A command that runs, with the names of `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(self, forks: Forks, folder: Path, pid: int) -> None:
        self._forks, self.folder, self.pid = forks, folder, pid

    def poll(self) -> int | None:
        if self.returncode is None and self._forks.has_news():
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self._forks.hear())
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
        out, err = (self.folder / f".{name}" for name in ("out", "err"))
        return out.read_text(), err.read_text()


@contextmanager
def forks() -> Iterator[Forks]:
    """Commands can be started for as long as the block lasts."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.forking"],
        cwd=_REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield Forks(server)
        server.kill()


def _become(arguments: list[str], folder: str) -> None:
    """In the fork: run the command and end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in a process that has just started
    from cnnrun.cli import main

    os.chdir(folder)
    for handle, name in enumerate(("/dev/null", ".out", ".err")):
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if handle else 0)
        os.dup2(os.open(name, flags, 0o644), handle)
    sys.argv = ["cnnrun", *arguments]
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except KeyboardInterrupt:  # before `main` had begun, or after it
        code = 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    """Fork for each line of stdin; tell the process id, then how it ended."""
    import sklearn.datasets  # noqa: F401
    import torch._inductor  # noqa: F401  (an optimizer's first step imports it)

    from cnnrun import cli, plots, registry, runner  # noqa: F401
    from cnnrun.config.experiment import experiment_model

    for kind in registry.KINDS.values():
        kind.names()
    experiment_model()  # each kind's part of the schema is kept
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(**request)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
