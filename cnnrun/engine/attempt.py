"""An attempt at a step, which can be undone."""

from __future__ import annotations

from torch import nn

from cnnrun.engine.epoch_sums import EpochSums


class Attempt:
    """What a step changes before it updates weights: statistics, gradients, recorded losses."""

    def __init__(self, model: nn.Module, sums: EpochSums, revocable: bool) -> None:
        """revocable: whether it may be undone; only then are statistics copied."""
        self._model, self._sums, self._first = model, sums, len(sums.noted)
        self._buffers = list(model.buffers()) if revocable else []
        self._kept = [buffer.clone() for buffer in self._buffers]

    def undo(self) -> None:
        for buffer, before in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(before)
        for parameter in self._model.parameters():
            parameter.grad = None
        self._sums.forget_since(self._first)
