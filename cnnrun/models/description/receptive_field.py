"""Receptive fields, tracked through a network's actual operations.

Every operation of a forward pass is intercepted (`torch.utils._python_dispatch`), inside layers and
between them, so residual branches, concatenations and attention need no special care. An operation
without a rule here makes the field of its result unknown, never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """What the units of a tensor see along one axis of the image, and their layout.

    Unit i of `count` sees the pixels `i * jump + low` to `i * jump + high` (padding included).
    The units lie along dimension `dim` (negative, so that broadcasting keeps it), `inner` entries
    apart. `jump` 0: all units see the same; so they do where not `exact`, as far as is known.
    """

    dim: int | None
    inner: int
    count: int
    jump: int
    low: int
    high: int
    exact: bool = True

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    @property
    def placed(self) -> bool:
        """Whether the units' positions still matter."""
        return self.jump != 0 or not self.exact

    def fills(self, shape: Sequence[int]) -> bool:
        """Whether no other axis shares its dimension."""
        return self.dim is not None and self.inner == 1 and self.count == shape[self.dim]

    def merged(self) -> Axis:
        """Of a unit that computes with all the units."""
        return replace(self.blurred(), exact=self.exact or self.dim is not None)

    def blurred(self, dim: int | None = None, count: int = 1) -> Axis:
        """Of units that each see some part of what all see, which part is unknown."""
        high = self.high + (self.count - 1) * self.jump
        return Axis(dim, 1, count, 0, self.low, high, exact=not self.placed)

    def through_window(
        self, count: int, kernel: int, stride: int, padding: int, dilation: int
    ) -> Axis:
        """Of `count` units that see `kernel` units, `dilation` apart, every `stride` units."""
        low = self.low - padding * self.jump
        high = self.high + (dilation * (kernel - 1) - padding) * self.jump
        return replace(self, count=count, jump=self.jump * stride, low=low, high=high)

    def viewed(self, old: Sequence[int], new: Sequence[int]) -> Axis:
        """After a tensor of shape `old` was read in the same order as one of shape `new`."""
        if not self.placed or self.dim is None:
            return self
        step = self.inner * math.prod(old[self.dim :][1:])
        for dim in range(-len(new), 0):
            below = math.prod(new[dim:][1:])
            if below <= step and step * self.count <= below * new[dim]:
                return replace(self, dim=dim, inner=step // below)
        return self.blurred()


def whole_image(height: int, width: int) -> Field:
    """The field of the image itself, (N, C, H, W): each pixel sees itself."""
    return Axis(-2, 1, height, 1, 0, 0), Axis(-1, 1, width, 1, 0, 0)


Field = tuple[Axis, Axis]
"""What the units of a tensor see: height, width."""


def union(fields: Sequence[Field | None]) -> Field | None:
    """Of units that compute with one unit of each of several tensors, by place."""
    first = fields[0]
    for field in fields[1:]:
        if first is None or field is None:
            return None
        first = _union(first[0], field[0]), _union(first[1], field[1])
    return first


def _union(a: Axis, b: Axis) -> Axis:
    place = (a.dim, a.inner, a.count, a.jump)
    if a.exact and b.exact and place == (b.dim, b.inner, b.count, b.jump):
        return replace(a, low=min(a.low, b.low), high=max(a.high, b.high))
    wide, other = sorted((a, b), key=lambda axis: axis.placed)
    low, high = min(a.low, b.low), max(a.blurred().high, b.blurred().high)
    if wide.placed:
        same = place[:3] == (b.dim, b.inner, b.count)
        dim, inner, count = place[:3] if same else (None, 1, 1)
        return Axis(dim, inner, count, 0, low, high, exact=False)
    # A gate that has seen the whole map (squeeze and excitation) hides what each unit sees.
    hidden = (wide.low, wide.high) == (low, high)
    return wide if hidden else replace(other.blurred(other.dim, other.count), low=low, high=high)


class Call:
    """One operation: its arguments by name, the fields of its tensors, its result."""

    def __init__(
        self, function: Any, args: Any, kwargs: Any, result: Any, known: FieldsOfTensors
    ) -> None:
        self.packet = function.overloadpacket
        self.pointwise = torch.Tag.pointwise in function.tags
        schema = function._schema.arguments
        self.arguments = {a.name: a.default_value for a in schema if a.has_default_value()}
        self.arguments |= {a.name: value for a, value in zip(schema, args, strict=False)} | kwargs
        self.result = result
        self._known = known
        self.tracked = [t for t in tensors_in([*args, *kwargs.values()]) if t in known]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def field(self, tensor: Tensor) -> Field | None:
        return self._known[tensor]

    def is_tracked(self, name: str) -> bool:
        value = self.arguments.get(name)
        return isinstance(value, Tensor) and value in self._known


class FieldsOfTensors:
    """Tensor, by identity, to field. A tensor that the image has no part in isn't there."""

    def __init__(self) -> None:
        from torch.utils.weak import WeakTensorKeyDictionary

        self._fields: Any = WeakTensorKeyDictionary()

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._fields

    def __getitem__(self, tensor: Tensor) -> Field | None:
        field: Field | None = self._fields[tensor]
        return field

    def __setitem__(self, tensor: Tensor, field: Field | None) -> None:
        self._fields[tensor] = field


Rule = Callable[[Call], "Field | list[Field | None] | None"]


def tensors_in(values: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    from torch.utils._pytree import tree_leaves

    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
