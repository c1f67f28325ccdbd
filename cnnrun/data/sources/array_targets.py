"""Arrays with a row per sample as targets: their kind, and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnrun.data.target_kind import Kind, Targets
from cnnrun.data.targets import IGNORED, Labels, LabelSets, Masks, Values
from cnnrun.errors import UserError
from cnnrun.runtime.reading import MOST_CLASSES

_FORMS: dict[Kind, str] = {
    "labels": "one whole number per sample, (N,)",
    "label_sets": "0 or 1 for each label, (N, K)",
    "values": "finite numbers, (N,) or (N, D)",
    "masks": "whole numbers from 0 to 255 per pixel, (N, H, W)",
}

# What values may lose of their standard deviation as they are rounded to 32 bits, and how many
# there must be for that to be known.
_COARSE, _SEVERAL = 0.01, 8


def kind_of(rows: NDArray[Any]) -> Kind:
    """The kind of targets that rows (N, ...) look like.

    A whole number is a label, any other number a value; several whole numbers are a set of labels,
    several floating-point numbers are values; a plane is a mask.
    """
    whole = rows.dtype.kind in "bui"
    if rows.ndim > 2:
        return "masks"
    if rows.ndim == 1 or rows.shape[1] == 1:
        return "labels" if whole else "values"
    return "label_sets" if whole else "values"


def targets_of(rows: NDArray[Any], kind: Kind) -> Targets:
    """Rows (N, ...) of numbers as targets of this kind.

    Raises:
        UserError: another shape, or invalid numbers; without a place.
    """
    if kind == "masks" and rows.ndim == 4:  # one channel, first or last
        axis = next((a for a in (1, 3) if rows.shape[a] == 1), None)
        rows = rows if axis is None else rows.squeeze(axis)
    if kind == "labels" and rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if kind == "values" and rows.ndim == 1:
        rows = rows[:, None]
    wanted = {"labels": 1, "masks": 3}.get(kind, 2)
    if rows.ndim != wanted or rows.dtype.kind not in "buif":
        raise UserError(f"{_named(kind)} of shape {rows.shape} ({rows.dtype}); {_FORMS[kind]}")
    most = {"labels": MOST_CLASSES - 1, "label_sets": 1, "masks": IGNORED}.get(kind)
    right = np.isfinite(rows) if most is None else (rows >= 0) & (rows <= most)
    if most is not None and rows.dtype.kind == "f":
        right &= rows == np.floor(rows)
    if not right.all():
        row = int(np.argwhere(~right)[0][0])
        found = f"{_named(kind)} with {rows[~right][0]} (sample {row})"
        raise UserError(f"{found}; expected {_FORMS[kind]}")
    if kind == "labels":
        return Labels(torch.from_numpy(rows.astype(np.int64)))
    if kind == "masks":
        return Masks(torch.from_numpy(rows.astype(np.uint8)))
    if kind == "values":
        return values_of(rows)
    return LabelSets(torch.from_numpy(rows.astype(np.float32)))


def values_of(rows: NDArray[Any], names: Sequence[str] = ()) -> Values:
    """Rows (N, D) of finite numbers as values. names: of the D; by default numbers.

    Raises:
        UserError: 32-bit numbers do not hold them, or hardly distinguish them; without a place.
    """
    exact = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        held = rows.astype(np.float32)
        lost, spread = np.abs(held - exact).max(0, initial=0.0), exact.std(0)
    coarse = (lost > _COARSE * spread) & (spread > 0) & (len(rows) >= _SEVERAL)
    for k in np.flatnonzero(coarse | np.isinf(lost)).tolist():
        name, low, high = names[k] if names else k, exact[:, k].min(), exact[:, k].max()
        message = f"'{name}' goes from {low:.12g} to {high:.12g}, which 32-bit numbers "
        if np.isinf(lost[k]):
            raise UserError(f"{message}do not reach; divide it by a large number")
        raise UserError(f"{message}barely distinguish; subtract {low:.12g} from all of them")
    return Values(torch.from_numpy(held))


def names_of(targets: list[Targets], given: list[str] | None, where: str) -> tuple[str, ...]:
    """The names of the outputs: those given, or their indices.

    Raises:
        UserError: there are fewer or more, or two are the same.
    """
    needed = max(_outputs(each) for each in targets)
    names = tuple(map(str, range(needed) if given is None else given))
    exact = isinstance(targets[0], LabelSets | Values)
    if len(set(names)) < len(names) or len(names) < needed or (exact and len(names) != needed):
        found = f"`classes` has {len(set(names))} different names"
        raise UserError(f"{where}: there are {needed} {targets[0].words}, but {found}")
    return names


def _outputs(targets: Targets) -> int:
    held = targets.held
    if isinstance(targets, LabelSets | Values):
        return int(held.shape[1])
    known = held[held != IGNORED] if isinstance(targets, Masks) else held
    return int(known.max()) + 1 if known.numel() else 1


def _named(kind: Kind) -> str:
    return kind.replace("_", " ")
