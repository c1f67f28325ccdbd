"""Usual names of splits: `train`, `training_set`, `seg_train`, `Testing`, `valid` ..."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "pred": "unlabelled",
    "unlabeled": "unlabelled",
    "unlabelled": "unlabelled",
}
# Words that mean nothing next to those.
_FILLING = frozenset(
    ("set", "data", "dataset", "image", "images", "img", "imgs", "photos", "folder", "split", "seg")
)


def split_named(name: str) -> str | None:
    """train, validation, test or unlabelled if the name means just that; case is ignored."""
    split, rest = _read(name)
    return split if not rest else None


def splits_named(names: Iterable[str]) -> dict[str, str]:
    """The names that mean splits, and which.

    `cats_train` and `cats_test` are splits if all names share their other words.
    """
    names = list(names)
    plain = {name: split for name in names if (split := split_named(name))}
    read = [_read(name) for name in names]
    alike = len(names) > 1 and all(split for split, _ in read) and len({r for _, r in read}) == 1
    if not plain and alike:
        return {name: str(split) for name, (split, _) in zip(names, read, strict=True)}
    return plain


def _read(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The split that a word of the name means, and the other meaningful words."""
    words = [_bare(word) for word in re.findall(r"[^\W_]+", name.lower())]
    said = [_WORDS[word] for word in words if word in _WORDS]
    rest = tuple(word for word in words if word not in _WORDS and word not in _FILLING)
    return (said[0] if len(said) == 1 else None), rest


def _bare(word: str) -> str:
    """`trainset` and `testdata` without their filler words."""
    for filling in ("set", "data", "images"):
        if word.removesuffix(filling) in _WORDS:
            return word.removesuffix(filling)
    return word
