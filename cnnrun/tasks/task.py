"""The interface between the training loop and what is trained for."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from torch import Tensor, nn


class Task(Protocol):
    """What the loop asks of a task."""

    # Sections of the YAML file that may be left out, with what they then are.
    defaults: ClassVar[dict[str, Any]]
    # The measures that `losses_and_sums` sums, by the names they have in the log; "loss" is first.
    measures: ClassVar[tuple[str, ...]]
    # The measure that chooses the best epoch, and whether more of it is better.
    monitor: ClassVar[str]
    higher_is_better: ClassVar[dict[str, bool]]
    # The pictures drawn when training has ended, by their names in `cnnrun viz`.
    pictures: ClassVar[tuple[str, ...]]

    def step(
        self, model: nn.Module, loss: nn.Module, images: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Forward pass of one batch.

        images: (N, C, H, W) float32, normalized. targets: (N,) int64 or (N, K) float32.

        Returns:
            the mean loss, (), to call backward on, and the sums over the samples of each measure,
            (len(measures),), detached, on the same device.
        """
        ...
