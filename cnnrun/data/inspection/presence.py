"""In how many images each class, label or value is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnrun.data.sources.listed_names import listed
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import LabelSets, Masks


def presence(targets: Targets, outputs: int) -> Tensor:
    """In how many samples each output is: (outputs,) int64. Of masks, one pixel is enough."""
    if not isinstance(targets, Masks):
        return targets.counts(outputs)
    found = torch.zeros(outputs, dtype=torch.int64)
    for mask in targets.held:
        found += torch.bincount(mask.flatten(), minlength=outputs)[:outputs] > 0
    return found


def constant_labels(targets: Targets, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels that all samples have, and those that none has; of sets of labels alone."""
    if not isinstance(targets, LabelSets) or not len(targets):
        return [], []
    counts = targets.counts(len(names)).tolist()
    every = [name for name, count in zip(names, counts, strict=True) if count == len(targets)]
    return every, [name for name, count in zip(names, counts, strict=True) if not count]


def constant_labels_note(targets: Targets, names: Sequence[str]) -> list[str]:
    """A note on labels that can't be learned, as no training image differs in them."""
    every, none = constant_labels(targets, names)
    parts = [f"all have {listed(every)}"] if every else []
    parts += [f"none has {listed(none)}"] if none else []
    if not parts:
        return []
    return [f"of the training images {' and '.join(parts)}: what always is the same is not learned"]
