"""Asks the process of `tests.quick_shell` to fork a command. It imports next to nothing.

A script on the PATH named `cnnrun` or `python` calls `main`. The first runs a command; so does
`python -m cnnrun`, and `python FILE.py` runs the file. Whatever else is said to `python` goes to
the plain one.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ask(
    address: str,
    command: list[str],
    folder: str,
    environment: dict[str, str],
    streams: dict[int, int],
) -> tuple[socket.socket, int]:
    """Start `cnnrun ...` or `FILE.py ...`; the socket that will tell its exit code, its pid.

    streams: which handle of this process becomes its stdin (0), stdout (1) and stderr (2). The
    command is killed as soon as the socket is closed.
    """
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    handles = array.array("i", streams.values())
    server.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
    request = [command, folder, environment, list(streams)]
    server.sendall(json.dumps(request).encode() + b"\n")
    return server, int(line(server))


def line(server: socket.socket) -> bytes:
    """What the process says next."""
    said = b""
    while not said.endswith(b"\n") and (byte := server.recv(1)):
        said += byte
    return said


def _is_open(handle: int) -> bool:
    try:
        return fcntl.fcntl(handle, fcntl.F_GETFD) is not None
    except OSError:
        return False


def main(address: str, python: str) -> None:
    """Do what was asked of this script, and end as that ends."""
    name, *words = sys.argv
    if name.endswith("/cnnrun"):
        command = ["cnnrun", *words]
    else:
        plain = words
        words = words[1:] if words[:1] == ["-u"] else words
        if words[:2] == ["-m", "cnnrun"]:
            command = ["cnnrun", *words[2:]]
        elif words and words[0].endswith(".py"):
            command = words
        else:
            os.execv(python, [python, *plain])
    streams = {handle: handle for handle in range(3) if _is_open(handle)}
    server, pid = ask(address, command, str(Path.cwd()), dict(os.environ), streams)
    for number in SIGNALS:
        signal.signal(number, lambda received, _: _forward(pid, received))
    code = int(line(server))
    if code >= 0:
        os._exit(code)
    if -code in SIGNALS:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


def _forward(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
