"""Processes that decode image files: those of torch's DataLoader, for as long as a block lasts.

A batch is requested in pieces, so that all workers decode the first one together. What they can't
decode, and everything after one of them has died, is decoded in this process: so errors and bytes
are the same as with threads. `cnnrun.data.decoding_plan` says when they are better.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.process import BaseProcess
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cnnrun.data.decoding_plan import PIECE, Plan
from cnnrun.runtime import console

_FOR_THE_PARENT = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)

Read = Callable[[Tensor, int], Tensor]
"""Of samples (M,) int64 and an epoch the images (M, C, H, W) uint8."""


class DecodingWorkers:
    """Processes that decode batches; they start with the first pass."""

    def __init__(self, read: Read, plan: Plan, pin: bool) -> None:
        """read: called in forks of this process, where it must start no threads.

        pin: the images are in pinned memory, from which a GPU copies asynchronously.
        """
        self._requests: list[tuple[list[int], int]] = []
        self._loader: DataLoader[Tensor | None] = DataLoader(
            cast(Any, _Requested(read)),
            batch_size=None,
            sampler=self._requests,
            num_workers=plan.processes,
            prefetch_factor=plan.ahead,
            persistent_workers=True,
            pin_memory=pin,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # or it would draw from everybody's
            # Another way would run the script of a user who calls `cnnrun.train` once more.
            multiprocessing_context="fork",
        )
        self._pass: Any = None
        self._processes: set[BaseProcess] = set()
        self._in_use = self._ended = False

    def read(
        self, batches: Sequence[Tensor], epoch: int
    ) -> Generator[list[Tensor] | None, None, None]:
        """The images of each of `batches` (M,) int64, in pieces; None of one that can't be decoded.

        It ends early if no processes can be started, or if they were killed.
        """
        if self._in_use or self._ended:
            return
        pieces = [torch.split(batch, PIECE) for batch in batches]
        self._requests[:] = [(piece.tolist(), epoch) for batch in pieces for piece in batch]
        self._in_use = True
        try:
            self._start_pass()
            for batch in pieces:
                found = [next(self._pass) for _ in batch]
                yield None if any(piece is None for piece in found) else found
        except (RuntimeError, OSError, EOFError) as error:
            reason = str(error).strip().partition("\n")[0]
            console.warn(f"images are decoded by threads from here on: {reason}")
            self.end()
        finally:
            self._in_use = False

    def _start_pass(self) -> None:
        """Ask for all requests; what is left of an abandoned pass is dropped."""
        in_main = threading.current_thread() is threading.main_thread()
        child_handler = signal.getsignal(signal.SIGCHLD)
        before = multiprocessing.active_children()
        # No child may take a signal for its own before it knows better.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
        try:
            self._pass = iter(self._loader)
        finally:
            self._processes.update(set(multiprocessing.active_children()) - set(before))
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            # The loader's own handler would raise in the middle of a step when a process died;
            # `next` detects that as well.
            if in_main and child_handler is not None:
                signal.signal(signal.SIGCHLD, child_handler)

    def end(self) -> None:
        """End the processes and wait for it: they hold what this one had open, such as locks."""
        self._ended = True
        if self._pass is not None:
            self._pass._shutdown_workers()  # a loader has no other way while anything refers to it
            self._pass = None
        for process in self._processes:
            process.kill()  # one that hangs, or that the loader started and lost
            process.join()


class _Requested:
    """Each (samples, epoch) as images, or as None where reading fails."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def __getitem__(self, request: tuple[list[int], int]) -> Tensor | None:
        samples, epoch = request
        try:
            return self._read(torch.tensor(samples, dtype=torch.int64), epoch)
        except Exception:
            return None  # the parent reads it again, and meets the error itself


def _start_worker(_number: int) -> None:
    """In each process: the parent finishes its step, saves and leaves, and then this one ends."""
    gc.freeze()  # nothing that it shares with the parent, on the GPU perhaps, is freed here
    for number in _FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


_of_block: ContextVar[dict[object, DecodingWorkers | None] | None]
_of_block = ContextVar("_of_block", default=None)


@contextmanager
def decoding_processes() -> Iterator[None]:
    """Within the block, or function, batches may be decoded by processes, which end with it."""
    started: dict[object, DecodingWorkers | None] = {}
    outer = _of_block.set(started)
    try:
        yield
    finally:
        _of_block.reset(outer)
        for workers in started.values():
            if workers:
                workers.end()


def workers_of(
    owner: object, start: Callable[[], DecodingWorkers | None]
) -> DecodingWorkers | None:
    """The workers that `owner` has within the block around; `start` says, once, which."""
    started = _of_block.get()
    if started is None:
        return None
    if owner not in started:
        started[owner] = start()
    return started[owner]
