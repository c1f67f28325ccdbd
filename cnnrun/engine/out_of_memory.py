"""Running out of memory: how it shows, and what a person can do about it."""

from __future__ import annotations

import torch

from cnnrun.errors import UserError


class OtherRanOutError(torch.OutOfMemoryError):
    """Another process ran out of memory, so that this one's step does not count either."""


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(batch_size: int, accumulate: int) -> UserError:
    """What to tell where a batch in so many pieces is too large."""
    return UserError(
        f"out of memory on a batch of {batch_size} images"
        + (f" in {accumulate} pieces" if accumulate > 1 else "")
        + f"; training.accumulate={2 * accumulate} takes half as much and gives the same steps, "
        "training.auto_batch=true finds how much is needed, dataset.batch_size="
        f"{max(1, batch_size // 2)} makes other, smaller steps"
    )
