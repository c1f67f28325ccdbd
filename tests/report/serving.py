"""A server of runs for tests, and a client that can say whatever it likes."""

from __future__ import annotations

import _socket
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from cnnrun.report.serving import HOST, Server


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def served(paths: Sequence[Path]) -> Iterator[Server]:
    """A server of `paths`, in a thread, on any free port."""
    with Server(paths) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: Server, path: str = "", method: str = "GET", host: str | None = None) -> Answer:
    """path: below the token, or from the root if it begins with `/`."""
    port = server.server_address[1]
    path = path if path.startswith("/") else f"/{server.token}/{path}"
    lines = [f"{method} {path} HTTP/1.0", f"Host: {HOST if host is None else host}:{port}"]
    with socket.socket() as client:
        # Not `client.connect`, which some tests forbid all others.
        _socket.socket.connect(client, (HOST, port))
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        whole = b""
        while piece := client.recv(65536):
            whole += piece
    head, _, body = whole.partition(b"\r\n\r\n")
    status, *rows = head.decode().split("\r\n")
    headers = {key: value for key, _, value in (row.partition(": ") for row in rows)}
    return Answer(int(status.split()[1]), headers, body)
