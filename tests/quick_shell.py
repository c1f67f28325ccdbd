"""A `cnnrun` for the shell that answers at once: a process with all imports forks for each command.

It is a script on the PATH that hands its arguments, folder, environment and streams to that
process; the fork calls the very `main` of the installed command. Signals reach the fork, but for
SIGKILL. What a library reads when it's imported (`OMP_NUM_THREADS`, `MPLBACKEND`) is the process's,
and so are limits (`ulimit`).
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent

_CLIENT = """\
#!{python} -ISE
import array, fcntl, json, os, signal, socket, sys
def is_open(handle):
    try:
        return fcntl.fcntl(handle, fcntl.F_GETFD) is not None
    except OSError:
        return False
handles = [handle for handle in range(3) if is_open(handle)]
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = [sys.argv[1:], os.getcwd(), dict(os.environ), handles]
streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handles))]
server.sendmsg([b"."], streams)
server.sendall(json.dumps(request).encode() + b"\\n")
answers = server.makefile()
pid = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda received, _: os.kill(pid, received))
code = answers.readline()
if not code:  # whatever killed the fork
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(code))
"""


@contextmanager
def quick_cnnrun(folder: Path) -> Iterator[Path]:
    """A folder for the PATH with a quick `cnnrun` in it, for as long as the block lasts."""
    address = str(folder / "socket")
    client = folder / "bin" / "cnnrun"
    client.parent.mkdir()
    client.write_text(_CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.quick_shell", address],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield client.parent
        server.kill()


def _serve(address: str) -> None:
    import sklearn.datasets  # noqa: F401

    from cnnrun import plots, registry, runner  # noqa: F401
    from cnnrun.config.experiment import experiment_model

    experiment_model()  # without plug-ins it's always the same
    for kind in registry.KINDS.values():
        kind.names()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets whoever has ended
    print("ready", flush=True)
    while True:
        client, _ = listening.accept()
        if not os.fork():
            _become(client)
        client.close()


def _become(client: socket.socket) -> None:
    """In the fork: run the client's command with its streams, tell how it ended."""
    from cnnrun.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, sent, *_ = client.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    handles = array.array("i", b"".join(bytes(data) for _, _, data in sent))
    arguments, folder, environment, streams = json.loads(client.makefile().readline())
    for stream, handle in zip(streams, handles, strict=True):
        os.dup2(handle, stream)
    for stream in {0, 1, 2} - set(streams):
        os.close(stream)
        setattr(sys, ("stdin", "stdout", "stderr")[stream], None)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    client.sendall(f"{os.getpid()}\n".encode())
    sys.argv = ["cnnrun", *arguments]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    for printed in filter(None, (sys.stdout, sys.stderr)):
        printed.flush()
    client.sendall(f"{code}\n".encode())
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
