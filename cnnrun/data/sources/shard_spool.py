"""Shards from the web on the local disk, no more bytes than allowed: the least used go first."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

from cnnrun.errors import NetworkError

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

    def open(self, url: str) -> BinaryIO:
        """The shard at `url`, open for reading, fetched if it is not here.

        It stays readable even when another thread or run needs its room.

        Raises:
            UserError: the server can't be reached or refuses.
        """
        file = self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.tar"
        with self._lock:
            turn = self._fetching[url]
        with turn:
            try:
                shard: BinaryIO = file.open("rb")
            except FileNotFoundError:
                shard = _fetch(url, file)
                self._evict(file)
            else:
                # The time of change is the time of last use.
                os.utime(shard.fileno())
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


def _fetch(url: str, file: Path) -> BinaryIO:
    for attempt in itertools.count(1):
        try:
            return _fetch_once(url, file)
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == ATTEMPTS:
                raise NetworkError(f"{url}: the server says {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                reason = getattr(error, "reason", None) or error
                raise NetworkError(f"{url}: can't be fetched ({reason})") from error
        time.sleep(0.5 * attempt)
    raise AssertionError("the last attempt returns or raises")


def _fetch_once(url: str, file: Path) -> BinaryIO:
    """Written beside its place and renamed when whole; what is returned is open all the while."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    part = os.fdopen(handle, "w+b")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            announced = answer.headers.get("Content-Length")
            while piece := answer.read(_PIECE):
                part.write(piece)
        if announced is not None and part.tell() != int(announced):
            raise OSError(f"broke off after {part.tell():,} of {int(announced):,} bytes")
        part.seek(0)
        Path(name).replace(file)
    except BaseException:
        part.close()
        Path(name).unlink(missing_ok=True)
        raise
    return part
