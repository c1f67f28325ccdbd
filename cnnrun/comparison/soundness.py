"""Checks that a run directory's values can be used: one odd run must not hide the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LARGEST = 2**63
_COUNTS = ("epochs", "best_epoch", "parameters")
_FIGURES = ("seconds", "images_per_second")


def is_usable(value: Any) -> bool:
    """Whether `value`, at any depth, has no integer beyond any real count.

    Python reads integers of any length, but fails to write or round them.
    """
    if isinstance(value, int):
        return abs(value) < _LARGEST
    if isinstance(value, Mapping):
        return all(map(is_usable, value.values()))
    return not isinstance(value, list) or all(map(is_usable, value))


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse a config that no experiment can have.

    Raises:
        ValueError: the key, and what is wrong with it.
    """
    for key, value in settings.items():
        if not is_usable(value):
            raise ValueError(f"config.yaml: {key} is too large a number")
    for key in ("seed", "training.epochs"):
        value = settings.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"config.yaml: {key} is not a whole number")


def check_summary(summary: Mapping[str, Any]) -> None:
    """Refuse a summary that training never writes.

    Raises:
        ValueError: the key, and what is wrong with it.
    """
    for key, value in summary.items():
        if not is_usable(value):
            raise ValueError(f"summary.json: {key} has too large a number")
    for key in _COUNTS:
        value = summary.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"summary.json: {key} is not a whole number")
    for key in _FIGURES:
        if not _is_score(summary.get(key)):
            raise ValueError(f"summary.json: {key} is not a number")
    for key in ("best", "test"):
        scores = summary.get(key)
        if scores is None:
            continue
        if not isinstance(scores, Mapping):
            raise ValueError(f"summary.json: {key} has no scores by name")
        for name, score in scores.items():
            if not _is_score(score):
                raise ValueError(f"summary.json: {key}.{name} is not a number")
    for key in ("monitor", "main_metric"):
        if not isinstance(summary.get(key), str | None):
            raise ValueError(f"summary.json: {key} is not a name")


def _is_score(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
