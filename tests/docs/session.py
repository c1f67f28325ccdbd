"""A shell in which `cnnrun` answers at once: a process with all imports forks for each command.

`cnnrun` is a script on the PATH that hands its arguments, folder, environment and streams to that
process; the fork calls the very `main` of the installed command. Pipes, loops, `$(...)` are bash's.
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

from tests.conftest import REPOSITORY

_CLIENT = """\
#!{python} -ISE
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = [sys.argv[1:], os.getcwd(), dict(os.environ)]
streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
server.sendmsg([b"."], streams)
server.sendall(json.dumps(request).encode() + b"\\n")
answers = server.makefile()
pid = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda received, _: os.kill(pid, received))
sys.exit(int(answers.readline() or 1))
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
        [sys.executable, "-m", "tests.docs.session", address],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield client.parent
        server.kill()


def type_in(commands: list[str], folder: Path, path: Path, timeout: float) -> list[tuple[int, str]]:
    """Type `commands` into one bash in `folder`; the exit code and the output of each."""
    mark = "\x1e"
    script = "".join(f"{command}\nprintf '{mark}%s\\n' $?\n" for command in commands)
    search = os.pathsep.join([str(path), str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": search, "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    first, *rest = ended.stdout.split(mark)
    outputs = [first, *(part.partition("\n")[2] for part in rest)]
    codes = [int(part.partition("\n")[0]) for part in rest]
    return list(zip(codes, outputs, strict=False))


def _serve(address: str) -> None:
    import sklearn.datasets  # noqa: F401

    from cnnrun import plots, registry, runner  # noqa: F401

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
    _, [(_, _, handles)], *_ = client.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    for stream, handle in enumerate(array.array("i", bytes(handles))):
        os.dup2(handle, stream)
    arguments, folder, environment = json.loads(client.makefile().readline())
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
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(f"{code}\n".encode())
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
