"""A loss that is not finite: its batch, and the message about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cnnrun.errors import UserError
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.files import write_json
from cnnrun.runtime.weights import some


@dataclass(frozen=True)
class BadBatch:
    """The first batch whose loss is not finite. step: from 0; epoch: from 1.

    indices: of its images in the training split.
    """

    step: int
    epoch: int
    lr: float
    indices: list[int]

    def error(self, loss: float, run: RunDirectory | None) -> UserError:
        """The message; a run also keeps the whole batch."""
        place, good = "", "there is no checkpoint yet"
        if run:
            write_json(run.bad_batch, asdict(self))
            place = f" (all are in {run.bad_batch})"
            last = run.checkpoint("last")
            good = f"the last good checkpoint is {last}" if last.is_file() else good
        return UserError(
            f"the loss is {loss} at step {self.step} (epoch {self.epoch}, learning rate "
            f"{self.lr:g}), on training images {some(map(str, self.indices))}{place}; {good}. Try "
            "a smaller optimizer.lr, training.clip_norm=1, or training.on_nan=skip"
        )
