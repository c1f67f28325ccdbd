"""Runs of `Workers` as forks of the test's own process: all is imported already, 3 s saved each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from cnnrun.multirun.launcher import workers
from tests.conftest import Result, stand_in


def _cnnrun(command: list[str]) -> None:
    from cnnrun.cli import main
    from cnnrun.runtime import console

    console._results = None  # or what is printed goes where the parent's results go
    sys.argv = ["cnnrun", *command[command.index("cnnrun") + 1 :]]
    main()


class Forked:
    """As much of `subprocess.Popen` as `Workers` uses; `command` is `python -m cnnrun ...`."""

    program: Callable[[list[str]], None] = staticmethod(_cnnrun)

    def __init__(
        self,
        command: list[str],
        *,
        stderr: IO[str],
        env: dict[str, str],
        start_new_session: bool = False,
        preexec_fn: Callable[[], None] | None = None,
        **_: Any,
    ):
        self.returncode: int | None = None
        handle, name = tempfile.mkstemp()
        self.stdout = Path(name).open(encoding="utf-8")  # noqa: SIM115
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(handle)
            Path(name).unlink()
            return
        code = 1
        try:
            os.dup2(handle, 1)
            os.dup2(stderr.fileno(), 2)
            if start_new_session:
                os.setsid()
            if preexec_fn:
                preexec_fn()
            code = _run(self.program, command, env)
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 600)
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 600)
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _run(
    program: Callable[[list[str]], None], command: list[str], environment: dict[str, str]
) -> int:
    """What a new process would do; threads of OpenMP do not survive a fork, so there are none."""
    torch.set_num_threads(1)
    os.environ.update(environment)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    try:
        program(command)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def together(count: int, *arguments: object) -> Result:
    """`cnnrun ARGUMENTS` in so many processes of one run, as `torchrun -m` would start them here.

    The code is the highest one, the output the first process's, the errors those of all.
    """
    import torch._dynamo  # noqa: F401  (what several processes need imports it; here it's once)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    with tempfile.TemporaryFile("w+") as errors:
        command = ["cnnrun", *map(str, arguments)]
        processes = [
            Forked(command, stderr=errors, env={**meeting, "RANK": str(k), "LOCAL_RANK": str(k)})
            for k in range(count)
        ]
        code = max(process.wait() for process in processes)
        outs = []
        for process in processes:
            outs.append(process.stdout.read())
            process.stdout.close()
        errors.seek(0)
        return Result(code, outs[0], errors.read())


def fork_runs(patch: pytest.MonkeyPatch, runs: type[Forked] = Forked) -> None:
    """Let `Workers` fork from now on."""
    patch.setattr(workers, "subprocess", stand_in(subprocess, Popen=runs))
