"""Names an image by its split, index, targets and file, so that it can be found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnrun.data.dataset import Images, Split, origin
from cnnrun.data.images.files import ImageFiles

Place = dict[str, Any]
"""`split`, `index` in it, `class` (or other targets as text), and `file` if it comes from one."""


class Places:
    """From the number of an image among all splits to its split, index, targets and file."""

    def __init__(self, classes: tuple[str, ...], splits: dict[str, Split]) -> None:
        self._classes, self._splits = classes, splits
        self._names = list(splits)
        self._starts = np.cumsum([0, *map(len, splits.values())])
        self.split = np.repeat(np.arange(len(splits)), [len(s) for s in splits.values()])
        numbers = (split.targets.numbers for split in splits.values())
        self.target = np.concatenate([np.empty(0, int), *numbers])

    def __getitem__(self, number: int) -> Place:
        which = int(self.split[number])
        split, index = self._names[which], int(number - self._starts[which])
        held = self._splits[split]
        (name,) = held.targets.take(torch.tensor([index])).captions(self._classes)
        file = _file_name(held.images, index)
        place = {"split": split, "index": index, "class": name}
        return place | ({"file": file} if file is not None else {})

    def differ(self, numbers: NDArray[np.int64]) -> tuple[bool, bool]:
        """Whether these images are (from several splits, with different targets)."""
        return len(set(self.split[numbers])) > 1, len(set(self.target[numbers])) > 1

    def leaked(self, groups: list[NDArray[np.int64]]) -> dict[str, int]:
        """How many images of each later split are also in one before it."""
        late = [
            group[self.split[group] > self.split[group].min()] for group in groups if len(group)
        ]
        numbers = np.unique(np.concatenate([np.empty(0, np.int64), *late]))
        count = Counter(self.split[numbers].tolist())
        return {name: count[k] for k, name in enumerate(self._names) if k}


def _file_name(images: Images, index: int) -> str | None:
    """The file of an image, unless it is decoded in memory."""
    images, numbers = origin(images, torch.tensor([index]))
    return images.files.name(int(numbers[0])) if isinstance(images, ImageFiles) else None
