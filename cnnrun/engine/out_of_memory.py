"""Running out of memory: how to recognize it, and what the user can do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cnnrun.config.experiment import Experiment
from cnnrun.errors import UserError

# torch's messages when a tensor can't be allocated.
_TOO_LARGE = re.compile("memory|overflow|too large|size calculation", re.IGNORECASE)


class OtherRanOutError(torch.OutOfMemoryError):
    """Another process ran out of memory, so this one's step doesn't count either."""


@contextmanager
def fitting_memory(experiment: Experiment, section: str) -> Iterator[None]:
    """Report as an error in a section that what the block builds from it does not fit in memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or "out of memory"
        if not isinstance(error, MemoryError) and not _TOO_LARGE.search(reason):
            raise
        raise experiment.error([section], f"too large for this machine ({reason})") from error


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(batch_size: int, accumulate: int) -> UserError:
    """The message when a batch in `pieces` pieces is too large."""
    return UserError(
        f"out of memory on a batch of {batch_size} images"
        + (f" in {accumulate} pieces" if accumulate > 1 else "")
        + f"; training.accumulate={2 * accumulate} takes half as much and gives the same steps, "
        "training.auto_batch=true finds how much is needed, dataset.batch_size="
        f"{max(1, batch_size // 2)} makes other, smaller steps"
    )
