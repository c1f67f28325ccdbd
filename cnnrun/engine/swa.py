"""Stochastic weight averaging: the mean of the weights after each of the last epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from cnnrun.data.batches import Batches
from cnnrun.engine.ema import AverageWeights
from cnnrun.engine.parts import Parts


class EpochWeights(AverageWeights):
    """The plain mean of the weights after each epoch, from one on (Izmailov et al. 2018).

    Averaged weights give features that batch normalization has never seen, so its statistics are
    recomputed: a pass over the training images after each of these epochs.
    """

    def __init__(self, parts: Parts, first: int) -> None:
        """first: the number of the first epoch, from 0, that is averaged."""
        super().__init__(parts.model, decay=0.0)
        self.parts, self.first, self.count = parts, first, 0
        state = parts.model.state_dict()
        weights = {name for name, _ in parts.model.named_parameters()}
        self._is_weight = [k in weights for k, v in state.items() if v.is_floating_point()]

    def update(self, step: int) -> None:
        """Single steps are not averaged."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """See `AverageWeights.applied`; there is no average before the first such epoch."""
        with super().applied() if self.count else nullcontext():
            yield

    def restart(self, epochs: int = 0) -> None:
        """See `AverageWeights.restart`; `epochs` are the mean's so far."""
        super().restart()
        self.count = epochs

    def resume(self, done: int) -> str:
        """See `AverageWeights.resume`. The number of epochs, which says where the mean starts, may
        have changed: before that point the mean is dropped, after it nothing can be taken out.
        """
        start = done - self.count if self.count else max(done, self.first)
        if start == self.first:
            return ""
        if self.count and done <= self.first:
            self.count = 0
            return (
                f"training.swa: the mean of the weights, which had started in epoch {start + 1}, "
                f"restarts in epoch {self.first + 1}"
            )
        return (
            f"training.swa: the mean of the weights starts in epoch {start + 1}; with this "
            f"training.epochs from the beginning it would have been epoch {self.first + 1}"
        )

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> int:
        """Average in the weights after epoch number `epoch`; returns how many are averaged."""
        if self.count or epoch >= self.first:
            each = zip(self._own, self._averages, self._is_weight, strict=True)
            for own, average, is_weight in each:
                average.lerp_(own, 1 / (self.count + 1) if is_weight else 1.0)
            self.count += 1
            with self.applied():
                measure_statistics(self.parts)
        return self.count


def average_of(parts: Parts) -> AverageWeights | None:
    """The kind of weight averaging that the experiment asks for.

    Raises:
        ConfigError: it asks for two.
    """
    training = parts.experiment.training
    if training.swa is None:
        return None if training.ema is None else AverageWeights(parts.model, training.ema)
    if training.ema is not None:
        message = (
            "ema also averages the weights, and only one average "
            "can be validated and kept; choose one"
        )
        raise parts.experiment.error(["training", "swa"], message)
    return EpochWeights(parts, int(training.swa * training.epochs))


def measure_statistics(parts: Parts) -> None:
    """Give batch normalization the mean statistics of training batches, without augmentation.

    Frozen layers, and layers that images do not pass (a GAN's generator), keep theirs. Each process
    computes all, so that they agree.
    """
    model = parts.model
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and _learns(m)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    before = [{key: value.clone() for key, value in norm.named_buffers()} for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the mean over the batches
    batches = Batches(
        parts.dataset.train, parts.experiment.dataset.batch_size, parts.device, parts.crop
    )
    for images, targets in batches.iterate():
        model(parts.pipeline(images, targets, None)[0])
    for norm, momentum, buffers in zip(norms, momenta, before, strict=True):
        norm.momentum = momentum
        if norm.num_batches_tracked:  # what was counted since training started stays
            del buffers["running_mean"], buffers["running_var"]
        norm.load_state_dict(buffers, strict=False)


def _learns(norm: _BatchNorm) -> bool:
    return norm.training and norm.track_running_stats and norm.running_mean is not None
