"""A `cnnrun` and a `python` for the shell that start at once: a process with all imports forks.

They are scripts on the PATH that hand their arguments, folder, environment and streams to that
process; the fork calls the very `main` of the installed command. Signals reach the fork; whoever
kills the script kills it, too. What a library reads when it's imported (`OMP_NUM_THREADS`,
`MPLBACKEND`) is the process's, and so are limits (`ulimit`).
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.quick_client import SIGNALS

REPOSITORY = Path(__file__).parent.parent

_SCRIPT = """\
#!{python} -ISE
import sys
sys.path.insert(0, {folder!r})
from quick_client import main
main({address!r}, {python!r})
"""


@contextmanager
def quick_cnnrun(folder: Path) -> Iterator[Path]:
    """A folder for the PATH with the scripts in it, for as long as the block lasts."""
    address = address_of(folder / "bin")
    (folder / "bin").mkdir()
    for name in ("cnnrun", "python"):
        script = folder / "bin" / name
        here = str(Path(__file__).parent)
        script.write_text(_SCRIPT.format(python=sys.executable, folder=here, address=address))
        script.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.quick_shell", folder / "bin"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )
    with server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield folder / "bin"
        finally:
            server.kill()


def address_of(folder: Path) -> str:
    """Where the process behind the scripts in `folder` listens."""
    return str(folder.with_name("socket"))


def _import_all() -> None:
    import torchvision  # noqa: F401
    import typer.main

    from cnnrun import cli, plots, registry, runner  # noqa: F401
    from cnnrun.config.experiment import experiment_model

    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(cli.app)
    experiment_model()  # without plug-ins it's always the same
    for kind in registry.KINDS.values():
        kind.names()


def _serve(folder: Path) -> None:
    sys.executable = str(folder / "python")  # for what the forks start
    _import_all()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address_of(folder))
    listening.listen()
    clients: dict[int, socket.socket] = {}

    def tell(*_: object) -> None:
        """Each client how its fork ended; the time that it took becomes this process's."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with clients.pop(ended[0]) as client, suppress(OSError):
                    client.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended[1]))

    signal.signal(signal.SIGCHLD, tell)
    print("ready", flush=True)
    while True:
        client, _ = listening.accept()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # until it is known whose it is
        pid = os.fork()
        if not pid:
            listening.close()
            _become(client)
        clients[pid] = client
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become(client: socket.socket) -> None:
    """In the fork: run the client's command with its streams, and end."""
    for number in (signal.SIGCHLD, *SIGNALS):  # as in a process that has just started
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    _, sent, *_ = client.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    handles = array.array("i", b"".join(bytes(data) for _, _, data in sent))
    command, folder, environment, streams = json.loads(client.makefile().readline())
    _die_with(client)
    for stream, handle in zip(streams, handles, strict=True):
        os.dup2(handle, stream)
    for stream in {0, 1, 2} - set(streams):
        os.close(stream)
        setattr(sys, ("stdin", "stdout", "stderr")[stream], None)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    client.sendall(f"{os.getpid()}\n".encode())
    code = _run(command)
    for printed in filter(None, (sys.stdout, sys.stderr)):
        printed.flush()
    os._exit(code)


def _die_with(client: socket.socket) -> None:
    """Let the kernel kill this process when the client's end of the socket is closed (Linux)."""
    fcntl.fcntl(client, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(client, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(client, fcntl.F_SETFL, fcntl.fcntl(client, fcntl.F_GETFL) | os.O_ASYNC)


def _run(command: list[str]) -> int:
    sys.argv = command
    try:
        if command[0] == "cnnrun":
            from cnnrun.cli import main

            main()
        else:
            _run_file(command[0])
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return int(ended.code or 0)
    except KeyboardInterrupt:  # before `main` had begun, or after it
        return 130
    return 0


def _run_file(file: str) -> None:
    """`python FILE`."""
    import runpy
    import traceback

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = str(Path(file).parent.resolve())
    try:
        runpy.run_path(file, run_name="__main__")
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
