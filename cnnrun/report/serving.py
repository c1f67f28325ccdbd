"""The board as a page on this machine alone, read only, with runs as they train.

Access needs the address, which contains a random token. Another page open in the browser has no
token; if its host name is made to point here (DNS rebinding), the name gives it away. Only GET is
answered, and only with what the board shows.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cnnrun.comparison.runs import find_folders
from cnnrun.errors import UserError
from cnnrun.report import board
from cnnrun.report.figures import thumbnail
from cnnrun.report.page import Section, image_type, page
from cnnrun.report.watching import Watch
from cnnrun.runtime.strict_json import to_json

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_MOST_AT_ONCE = 32  # requests; more are refused
_PATIENCE = 10  # seconds for a request to arrive
_IMAGE_SIDE = 1024  # pixels
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Server(ThreadingHTTPServer):
    """Serves the runs at and below `paths`, until `shutdown`."""

    daemon_threads = True

    def __init__(self, paths: Sequence[Path], port: int = 0) -> None:
        """port: 0 for any that is free.

        Raises:
            UserError: a path does not exist, or the port is taken.
        """
        find_folders(paths)  # raises for one that is not there
        self.watch = Watch(paths)
        self.title = ", ".join(path.resolve().name for path in paths)
        self.token = secrets.token_urlsafe(24)
        self._free = BoundedSemaphore(_MOST_AT_ONCE)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", "") or str(error)
            message = f"--port {port}: can't listen there ({why}); leave it out for any free port"
            raise UserError(message) from error

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    def server_bind(self) -> None:
        """Without `http.server`'s DNS query for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or close the connection if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What that thread does."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes the connection during an answer is not an error."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "cnnrun"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer with the page, its data or an image; anything else gets an error."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in _NAMES:
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        asked = urlsplit(self.path)
        token, _, name = asked.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        options = {key: found[-1] for key, found in parse_qs(asked.query).items()}
        if name == "":
            self._page()
        elif name == "runs.json":
            news = self.server.watch.news(_number(options.get("since", "")))
            self._send(to_json(news, separators=(",", ":")).encode(), "application/json")
        elif name == "image":
            self._image(options)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _page(self) -> None:
        nonce, title = secrets.token_urlsafe(16), self.server.title
        html = page(title, "Runs as they train.", [Section("Runs", board.body())], nonce)
        policy = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
        self._send(html.encode(), "text/html; charset=utf-8", policy)

    def _image(self, options: dict[str, str]) -> None:
        file = self.server.watch.image(options.get("run", ""), _number(options.get("epoch", "")))
        data = thumbnail(file, _IMAGE_SIDE) if file else None
        if data is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._send(data, image_type(data))

    def _send(self, content: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}
        for key, value in (headers | (more or {})).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_error(status, explain="")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the terminal is the user's."""


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0
