"""Shards from the web on the local disk, within a size limit: the least recently used go first."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import os
import re
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

from cnnrun.errors import NetworkError, UserError
from cnnrun.runtime.reading import (
    SHARD_BYTES,
    TEXT_BYTES,
    UnusableFileError,
    open_regular,
    read_bytes,
)

# Timeout of a server (seconds), and the number of tries.
TIMEOUT = 20.0
ATTEMPTS = 3
_PIECE = 2**20
# The list of fetched shards, in the folder itself, so that both are shared together.
_LIST = ".cnnrun-shards"
_LINE = re.compile(r"([0-9a-f]{32}\.tar) ([0-9a-f]{64})")


class ShardSpool:
    """Local copies of shards; safe for threads, and for several runs at once.

    The folder may hold other files: fetched shards are recorded there with checksums, and nothing
    else is ever deleted.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        """limit: in bytes; the shard in use is kept even if it is larger."""
        self.folder = folder
        self.limit = limit
        self._lock = threading.Lock()
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._checked: set[str] = set()

    def open(self, url: str) -> BinaryIO:
        """The shard at `url`, open for reading, fetched if it is missing or damaged.

        It stays readable even if another thread or run evicts it.

        Raises:
            UserError: the server can't be reached or refuses.
        """
        file = self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.tar"
        with self._lock:
            turn = self._fetching[url]
        with turn:
            shard = self._stored(file)
            if shard is None:
                shard = _fetch(url, file)
                self._evict(file)
            self._checked.add(file.name)
        return shard

    def _stored(self, file: Path) -> BinaryIO | None:
        """The shard in `file`; None if it is missing, or damaged, and then removed.

        Its checksum is verified once per process: a run reads every shard in each epoch.
        """
        try:
            shard = open_regular(file, SHARD_BYTES)
        except FileNotFoundError:
            return None
        except UnusableFileError as error:
            raise UserError(f"{file}: {error}") from error
        known = None if file.name in self._checked else _fetched(self.folder).get(file.name)
        if known is not None and known != _checksum(shard):
            shard.close()
            file.unlink(missing_ok=True)
            return None
        shard.seek(0)
        os.utime(shard.fileno())  # the modification time is the time of last use
        return shard

    def _evict(self, kept: Path) -> None:
        held = []
        for name in _fetched(self.folder):
            file = self.folder / name
            with contextlib.suppress(FileNotFoundError):
                state = file.lstat()
                held.append((state.st_mtime_ns, state.st_size, file))
        total = sum(size for _, size, _ in held)
        for _, size, file in sorted(held):
            if total <= self.limit:
                break
            if file != kept:
                file.unlink(missing_ok=True)
                total -= size


def _fetched(folder: Path) -> dict[str, str]:
    """What `_note` wrote: names of shards and their checksums."""
    try:
        lines = read_bytes(folder / _LIST, TEXT_BYTES).decode("ascii").splitlines()
    except (OSError, UnusableFileError, UnicodeDecodeError):
        return {}
    return {found[1]: found[2] for line in lines if (found := _LINE.fullmatch(line))}


def _note(file: Path, checksum: str) -> None:
    """Record that `file` was fetched; several processes may do so at once."""
    if _fetched(file.parent).get(file.name) == checksum:
        return
    with (file.parent / _LIST).open("a", encoding="ascii") as stream:
        stream.write(f"\n{file.name} {checksum}\n")


def _checksum(shard: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := shard.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


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
    """Written to a temporary file and renamed when complete; the returned file stays open."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    part = os.fdopen(handle, "w+b")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            announced = answer.headers.get("Content-Length")
            digest = hashlib.sha256()
            while piece := answer.read(_PIECE):
                part.write(piece)
                digest.update(piece)
        if announced is not None and str(part.tell()) != announced.strip():
            raise OSError(f"broke off after {part.tell():,} of {announced[:20]} bytes")
        part.seek(0)
        _note(file, digest.hexdigest())
        Path(name).replace(file)
    except BaseException:
        part.close()
        Path(name).unlink(missing_ok=True)
        raise
    return part
