"""Which networks can judge style: VGGs by their layers' usual names, any model, or a run."""

from __future__ import annotations

import re
from typing import Protocol

from torch import nn

from cnnrun.components.losses.vgg_features import VGGS
from cnnrun.data.normalize import Normalize
from cnnrun.registry import Named, Nested, models
from cnnrun.runtime.paths import expanded

_LIKE_A_PATH = re.compile(r"[~.].*|.*[/\\].*|.*\.\w{2,11}")


class OpenJudge(Protocol):
    """What opens the layers of a network that an experiment names: a library's, or a run's."""

    def __call__(
        self,
        network: Named,
        weights: str | None,
        normalize: Normalize,
        layers: list[str],
        *,
        average: bool,
    ) -> nn.Module:
        """A module as `VGGFeatures`. average: instead of the network's max pooling."""
        ...


def names_run(text: str) -> bool:
    """Whether `text` is a run or checkpoint, there or not, and no name of a model."""
    return models.find(text) is None and bool(
        _LIKE_A_PATH.fullmatch(text) or expanded(text).exists()
    )


def _is_other(text: str) -> bool:
    return text in VGGS or names_run(text)


JUDGES = Nested(
    models,
    refused={"image": "'image' can't be used here; name a model such as cnn"},
    without=("weights",),
    is_other=_is_other,
    others=VGGS,
)
