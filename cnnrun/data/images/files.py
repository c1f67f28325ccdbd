"""Images that stay in their files and are decoded by threads when a batch needs them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from cnnrun.data.dataset import BadFile
from cnnrun.data.identity import ids_of_names
from cnnrun.data.images.decoding import BadImageError, ImageFormat, ImageOptions, read_bytes
from cnnrun.data.images.framing import RandomCrop, frame
from cnnrun.data.images.modes import UnreadableError
from cnnrun.runtime.container import cores

# Files between two reports of progress; Ctrl-C may have to wait for as many.
_CHUNK = 1024


class Encoded(Protocol):
    """Image files in a folder, an archive or a table.

    local: reading one fetches nothing and keeps no state, so that forked processes may do it.
    """

    @property
    def local(self) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The content of file `index`; raises `UnreadableError` if it can't be read."""
        ...

    def name(self, index: int) -> str:
        """Its name in messages, e.g. its path."""
        ...

    def identity(self) -> str:
        """A key for caches: changes whenever the content of any file may have changed."""
        ...

    def ids(self) -> Tensor | None:
        """(N,) int64, from the files' names; None if they are only known by position."""
        ...


class Files:
    """Image files on disk. Only their paths are kept, so that a million fit in memory."""

    local = True

    def __init__(
        self, paths: Sequence[str], root: str | None = None, ids: Tensor | None = None
    ) -> None:
        """root: a folder that may move as a whole; files are identified by their paths below it.

        ids: (N,) int64, if already known.
        """
        self.paths = paths
        self.root = root
        # Cached: each takes up to a second for 100,000 files and is needed several times.
        self._identity: str | None = None
        self._ids = ids

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        return read_bytes(self.paths[index])

    def name(self, index: int) -> str:
        return self.paths[index]

    def identity(self) -> str:
        """A hash of all paths, sizes, modification times and change times (ctime, which no program
        can set back), taken at first use."""
        if self._identity is None:
            self._identity = self._states()
        return self._identity

    def _states(self) -> str:
        digest = hashlib.sha256()
        full: dict[str, str] = {}
        for path in self.paths:
            folder, name = os.path.split(path)
            if folder not in full:
                full[folder] = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
            try:
                state = os.stat(path)  # noqa: PTH116  (ten times as fast as by way of a Path)
                times = f"{state.st_mtime_ns}\0{state.st_ctime_ns}"
                line = f"{full[folder]}{name}\0{state.st_size}\0{times}\n"
            except OSError as error:
                line = f"{path}\0{error.errno}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def ids(self) -> Tensor:
        """(N,) int64 of the paths below the root."""
        if self._ids is None:
            self._ids = self._numbers()
        return self._ids

    def take(self, numbers: Tensor) -> Files:
        """The files at `numbers` (M,) int64."""
        return Files([self.paths[i] for i in numbers.tolist()], self.root, self.ids()[numbers])

    def _numbers(self) -> Tensor:
        root = os.path.join(self.root, "") if self.root else ""  # noqa: PTH118
        names = (path.removeprefix(root) for path in self.paths)
        return ids_of_names(name.replace(os.sep, "/") for name in names)


class ImageFiles:
    """N image files that can be indexed like a tensor (N, C, H, W) uint8.

    Threads decode each file directly into its place in the batch: the decoders release the GIL, so
    that on a few cores no worker processes and no copies between them are needed; for a GPU with
    many cores see `cnnrun.data.decoding_plan`. Batches are in channels-last memory: resizing into
    it is 1.4 times as fast.
    """

    def __init__(
        self,
        files: Encoded,
        form: ImageFormat,
        threads: int | None = None,
        memory: Path | None = None,
    ) -> None:
        """threads: by default one per core that this process may use.
        memory: folder with the findings of decoding all files; None if some were not decoded.
        """
        self.files = files
        self.form = form
        self.memory = memory
        self.threads = threads or cores()

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.files), self.form.channels, *self.form.size))

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The images at `indices` (M,) int64, framed as `form.resize` says: (M, C, H, W) uint8.

        Raises:
            BadImageError: files can't be decoded.
        """
        return self.batch(indices)

    def batch(self, indices: Tensor, crop: RandomCrop | None = None, epoch: int = 0) -> Tensor:
        """The images at `indices` (M,) int64, with a random crop of each: (M, C, H, W) uint8.

        A crop depends only on (crop.seed, epoch, index in this collection), and only that part is
        resized, from the file's own pixels.
        """
        out = empty_images(len(indices), self.form)
        rows, numbers = torch.split(out, 1), indices.tolist()
        bad: dict[int, str] = {}

        def decode(row: int) -> None:
            index = numbers[row]
            try:
                frame(self.files.read(index), self.form, rows[row], crop, epoch, index)
            except UnreadableError as error:
                bad[row] = str(error)

        for_each(decode, range(len(numbers)), self.threads)
        if bad:
            raise BadImageError(
                [BadFile(self.files.name(numbers[row]), bad[row]) for row in sorted(bad)]
            )
        return out


def empty_images(count: int, form: ImageFormat, device: torch.device | None = None) -> Tensor:
    """(count, C, H, W) uint8 in channels-last memory, not initialized."""
    shape = (count, *form.size, form.channels)
    return torch.empty(shape, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


def for_each(task: Callable[[int], object], numbers: Iterable[int], threads: int) -> None:
    """Call `task` with each of `numbers`, in `threads` threads.

    Raises:
        Exception: that of the first failing task, in the order of `numbers`; no further ones are
        started.
    """
    waiting = iter(numbers)
    taking = threading.Lock()
    failed: dict[int, BaseException] = {}

    def work() -> None:
        while not failed:
            with taking:
                number = next(waiting, None)
            if number is None:
                return
            try:
                task(number)
            except BaseException as error:
                failed[number] = error

    if threads == 1:
        work()
    else:
        futures = [_pool(threads).submit(work) for _ in range(threads)]
        try:
            wait(futures)
        except BaseException as interrupt:
            failed[-1] = interrupt  # the threads stop after their current task
            raise
    if failed:
        raise failed[min(failed)]


def for_each_with_progress(
    what: str, task: Callable[[int], object], numbers: Sequence[int], options: ImageOptions
) -> None:
    """`for_each` in `options.threads`, reporting to `options.progress`."""
    total = len(numbers)
    for start in range(0, total, _CHUNK):
        if options.progress:
            options.progress(what, start, total)
        for_each(task, numbers[start : start + _CHUNK], options.threads or cores())
    if options.progress:
        options.progress(what, total, total)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Shared by all collections; idle threads end with the process."""
    return ThreadPoolExecutor(threads, thread_name_prefix="decoder")


if hasattr(os, "register_at_fork"):  # a fork lacks the pool's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
