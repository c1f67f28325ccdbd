"""Which epoch is the best: by the monitored metric, then by the loss."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from cnnrun.components.tasks import Task
from cnnrun.runtime import console
from cnnrun.runtime.distributed import world


def sort_key(scores: Mapping[str, Any], task: Task, monitor: str) -> list[float]:
    """Larger is better: the monitored metric, then the loss, as small splits often tie.

    scores: of the validation split; {} without one. May be NaN; None is a metric that is undefined
    there (R2 of images with the same value), the least of all, so that the loss decides.
    """
    if not scores:
        return []
    monitored, loss = task.ranks_by(monitor), task.ranks_by("loss")
    metrics = {metric.name: metric for metric in (monitored, loss)}
    undefined = dict.fromkeys(metrics, -sys.float_info.max) | {loss.name: math.nan}
    return [
        undefined[name] if (v := scores[name]) is None else v if metric.higher_is_better else -v
        for name, metric in metrics.items()
    ]


def is_better(rank: list[float], best: list[float] | None) -> bool:
    """Whether an epoch is the best so far; without a validation split, the last one always is.

    The first of equals stays; NaN never wins.
    """
    if not all(map(math.isfinite, rank)):
        return False
    return not rank or best is None or rank > best


class Ranking:
    """Ranks epochs, and warns where one can't be the best."""

    def __init__(self, task: Task, monitor: str) -> None:
        self.task, self.monitor = task, monitor
        self._warned = False

    def rank(
        self,
        scores: Mapping[str, Any],
        best: list[float] | None,
        epoch: int,
        infinite: Callable[[], str | None],
    ) -> list[float]:
        """The `sort_key` of epoch number `epoch` (from 1); [NaN] if its weights are not finite.

        best: the best rank so far. infinite: gives the name of a weight that is not finite; asked
        only of an epoch that would be the best.
        """
        rank = sort_key(scores, self.task, self.monitor)
        if not all(map(math.isfinite, rank)):
            self._warn(epoch)
        elif is_better(rank, best) and (name := infinite()):
            if world().is_main:
                console.warn(
                    f"epoch {epoch} can't be the best: {name} holds infinite values or NaN; "
                    "try a smaller optimizer.lr"
                )
            return [math.nan]
        return rank

    def _warn(self, epoch: int) -> None:
        """Say, once, that the score that would choose the best epoch is NaN."""
        if not self._warned and world().is_main:
            self._warned = True
            name = self.task.ranks_by(self.monitor).display_name
            console.warn(
                f"epoch {epoch}: the validation {name} or loss is not a number; no epoch can be "
                "the best until it is (try a smaller optimizer.lr)"
            )
