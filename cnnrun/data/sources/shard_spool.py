"""Shards from the web on the local disk, no more bytes than allowed: the least used go first."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

from cnnrun.errors import UserError

# A server that does not answer for so long is asked again, so many times in all (seconds).
TIMEOUT = 20.0
ATTEMPTS = 3
_PIECE = 2**20


class ShardSpool:
    """Local copies of shards; safe for threads, and for several runs at once."""

    def __init__(self, folder: Path, limit: int) -> None:
        """limit: bytes; the shard in use is kept even if it alone is larger."""
        self.folder = folder
        self.limit = limit
        self._lock = threading.Lock()
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def path(self, url: str) -> Path:
        """A local copy of the shard at `url`, fetched if it is not there.

        Raises:
            UserError: the server can't be reached or refuses.
        """
        file = self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.tar"
        with self._lock:
            turn = self._fetching[url]
        with turn:
            try:
                # The time of change is the time of last use.
                os.utime(file)
            except FileNotFoundError:
                _fetch(url, file)
                self._evict(file)
        return file

    def open(self, url: str) -> BinaryIO:
        """The shard at `url`, open for reading; it stays readable even when its room is needed."""
        shard = None
        while shard is None:
            # Between finding and opening it, another thread may have needed its room.
            with contextlib.suppress(FileNotFoundError):
                shard = self.path(url).open("rb")
        return shard

    def _evict(self, kept: Path) -> None:
        held = []
        for file in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):
                state = file.stat()
                held.append((state.st_mtime_ns, state.st_size, file))
        total = sum(size for _, size, _ in held)
        for _, size, file in sorted(held):
            if total <= self.limit:
                break
            if file != kept:
                file.unlink(missing_ok=True)
                total -= size


def _fetch(url: str, file: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch_once(url, file)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == ATTEMPTS:
                raise UserError(f"{url}: the server says {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                reason = getattr(error, "reason", None) or error
                raise UserError(f"{url}: can't be fetched ({reason})") from error
        time.sleep(0.5 * attempt)


def _fetch_once(url: str, file: Path) -> None:
    """Written beside its place and renamed when whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with (
            os.fdopen(handle, "wb") as part,
            urllib.request.urlopen(url, timeout=TIMEOUT) as answer,
        ):
            announced = answer.headers.get("Content-Length")
            while piece := answer.read(_PIECE):
                part.write(piece)
            if announced is not None and part.tell() != int(announced):
                raise OSError(f"broke off after {part.tell():,} of {int(announced):,} bytes")
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
