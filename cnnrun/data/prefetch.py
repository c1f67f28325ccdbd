"""Prefetching: the next batches are read in the background while the model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor


def prefetch(
    read: Callable[[Tensor], Tensor], batches: Iterable[Tensor], ahead: int = 2
) -> Generator[Tensor, None, None]:
    """Yield `read(indices)` for each of `batches`, in order, with `ahead` more in the making.

    read: `images.__getitem__`, or anything that turns indices (M,) into images (M, C, H, W).

    When the iterator is closed, or an exception or Ctrl-C passes through it, reads in progress are
    finished, others are dropped, and the threads end. An exception of `read` is raised where
    its batch would have come.
    """
    waiting: deque[Future[Tensor]] = deque()
    # As many readers as batches: no core idles while the last image of one batch is decoded.
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="prefetch")
    try:
        for indices in batches:
            waiting.append(pool.submit(read, indices))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
