"""How each of torch's operations changes the receptive field; see `receptive_field`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cnnrun.models.description.receptive_field import Axis, Call, Field, Rule, union

aten = torch.ops.aten


def _of(call: Call, name: str) -> tuple[Tensor, Field]:
    """The tensor argument `name` and its field."""
    tensor: Tensor = call[name]
    field = call.field(tensor)
    assert field is not None
    return tensor, field


def _same(call: Call) -> Field | None:
    return call.field(call.tracked[0])


def _restrided(call: Call) -> Field | None:
    """Other strides: valid only if the units' positions no longer matter."""
    field = _same(call)
    return None if field is None or any(axis.placed for axis in field) else field


def _window(
    call: Call,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    name: str = "self",
) -> Field | None:
    """Of a window moved over the last two dimensions of the argument `name`."""
    tensor, field = _of(call, name)
    result = call.result[0] if isinstance(call.result, tuple) else call.result
    axes = []
    for i, (axis, dim) in enumerate(zip(field, (-2, -1), strict=True)):
        if axis.placed and not (axis.exact and axis.dim == dim and axis.fills(tensor.shape)):
            return None
        values = [_at(each, i) for each in (kernel, stride, padding, dilation)]
        axes.append(axis.through_window(result.shape[dim], *values))
    return axes[0], axes[1]


def _at(values: Sequence[int] | int, i: int) -> int:
    """Torch writes a value for both axes as 3, [3] or [3, 3]."""
    return values if isinstance(values, int) else values[i % len(values)]


def _convolution(call: Call) -> Field | None:
    weight = call["weight"]
    if call["transposed"] or weight.ndim != 4 or not call.is_tracked("input"):
        return None
    kernel, stride = weight.shape[2:], call["stride"]
    return _window(call, kernel, stride, call["padding"], call["dilation"], "input")


def _pool(call: Call) -> Field | None:
    kernel = call["kernel_size"]
    dilation = call.arguments.get("dilation", [1])
    return _window(call, kernel, call["stride"] or kernel, call["padding"], dilation)


def _adaptive_pool(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    axes = []
    for axis, dim, wanted in zip(field, (-2, -1), call["output_size"], strict=True):
        size = tensor.shape[dim]
        if not axis.placed:
            axes.append(axis)
        elif axis.dim != dim or not axis.fills(tensor.shape):
            return None
        elif size % wanted == 0 and axis.exact:
            step = size // wanted
            axes.append(axis.through_window(wanted, step, step, 0, 1))
        else:
            axes.append(axis.blurred(dim, wanted))
    return axes[0], axes[1]


def _reduce(call: Call) -> Field | None:
    """Sum, mean, maximum ... over dimensions."""
    tensor, field = _of(call, "self")
    dims = _dims(call.arguments.get("dim"), tensor.ndim)
    keep = call.arguments.get("keepdim", False)
    return _each(field, lambda axis: _reduced(axis, dims, keep))


def _reduced(axis: Axis, dims: set[int], keep: bool) -> Axis:
    if not axis.placed or axis.dim is None:
        return axis
    if axis.dim in dims:
        return axis.merged()
    return axis if keep else replace(axis, dim=axis.dim + sum(dim > axis.dim for dim in dims))


def _dims(dims: int | Iterable[int] | None, ndim: int) -> set[int]:
    """Negative dimensions; all of them for None and []."""
    chosen = [dims] if isinstance(dims, int) else list(dims or range(-ndim, 0))
    return {dim if dim < 0 else dim - ndim for dim in chosen}


def _softmax(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    dims = _dims(call["dim"], tensor.ndim)
    return _each(field, lambda axis: _reduced(axis, dims, keep=True))


def _layer_norm(call: Call) -> Field | None:
    _, field = _of(call, "input")
    dims = set(range(-len(call["normalized_shape"]), 0))
    return _each(field, lambda axis: _reduced(axis, dims, keep=True))


def _group_norm(call: Call) -> Field | None:
    tensor, field = _of(call, "input")
    dims = set(range(-tensor.ndim, 0))
    return _each(field, lambda axis: _reduced(axis, dims, keep=True))


def _batch_norm(call: Call) -> Field | None:
    # In eval mode: with the running statistics, so each unit for itself.
    return None if call.arguments.get("training") else _same(call)


_FACTORS = {
    aten.mm: ("self", "mat2"),
    aten.bmm: ("self", "mat2"),
    aten.addmm: ("mat1", "mat2"),
    aten.baddbmm: ("batch1", "batch2"),
}


def _product(call: Call) -> Field | None:
    """Matrix product: the last dimension of one with the last but one of the other."""
    left, right = _FACTORS[call.packet]
    if call.is_tracked(left) and call.is_tracked(right):
        # Attention: every position with every other, unless they were split into windows.
        contracted = {left: {-1, -2}, right: {-1, -2}}
    else:
        contracted = {left: {-1}, right: {-2}}
    fields = [
        _each(_of(call, name)[1], partial(_reduced, dims=dims, keep=True))
        for name, dims in contracted.items()
        if call.is_tracked(name)
    ]
    return union(fields) if fields else None


def _view(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    return _each(field, lambda axis: axis.viewed(tensor.shape, call.result.shape))


def _permute(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    ndim = tensor.ndim
    if call.packet is aten.permute:
        order = [dim % ndim for dim in call["dims"]]
    else:
        first, second = (0, 1) if call.packet is aten.t else (call["dim0"], call["dim1"])
        order = list(range(ndim))
        order[first], order[second] = order[second], order[first]

    def moved(axis: Axis) -> Axis:
        if axis.dim is None:
            return axis
        return replace(axis, dim=order.index(axis.dim % ndim) - ndim)

    return _each(field, moved)


def _slice(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    dim = call["dim"] % tensor.ndim - tensor.ndim
    start = slice(call["start"], call["end"]).indices(tensor.shape[dim])[0]
    return _part(field, tensor, dim, start, call["step"], call.result.shape[dim])


def _split(call: Call) -> list[Field | None]:
    tensor, field = _of(call, "self")
    dim = call["dim"] % tensor.ndim - tensor.ndim
    parts, start = [], 0
    for output in call.result:
        parts.append(_part(field, tensor, dim, start, 1, output.shape[dim]))
        start += output.shape[dim]
    return parts


def _part(
    field: Field, tensor: Tensor, dim: int, start: int, step: int, count: int
) -> Field | None:
    def taken(axis: Axis) -> Axis:
        if not axis.placed or axis.dim != dim or count == tensor.shape[dim]:
            return axis
        if not axis.exact or not axis.fills(tensor.shape):
            return axis.blurred()
        offset = start * axis.jump
        low, high = axis.low + offset, axis.high + offset
        return replace(axis, low=low, high=high, jump=axis.jump * step, count=count)

    return _each(field, taken)


def _select(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    dim = call["dim"] % tensor.ndim - tensor.ndim
    part = _part(field, tensor, dim, call["index"] % tensor.shape[dim], 1, 1)
    assert part is not None
    # A single unit is left.
    return _each(part, lambda axis: _reduced(axis, {dim}, keep=False))


def _cat(call: Call) -> Field | None:
    dim = call.arguments.get("dim", 0) % call.result.ndim - call.result.ndim

    def joined(axis: Axis) -> Axis:
        lies_there = axis.placed and axis.dim == dim
        return axis.blurred(dim, call.result.shape[dim]) if lies_there else axis

    fields = [call.field(tensor) for tensor in call.tracked]
    return union([_each(field, joined) for field in fields if field])


def _roll(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    dims = _dims(call["dims"], tensor.ndim)

    def rolled(axis: Axis) -> Axis:
        return axis.blurred(axis.dim, axis.count) if axis.placed and axis.dim in dims else axis

    return _each(field, rolled)


def _pad(call: Call) -> Field | None:
    tensor, field = _of(call, "self")
    amounts = call.arguments.get("pad", call.arguments.get("padding"))
    assert amounts is not None
    # From the last dimension on: before, after.
    before = {-1 - i // 2: amounts[i] for i in range(0, len(amounts), 2)}
    padded = {-1 - i // 2 for i, amount in enumerate(amounts) if amount}

    def shifted(axis: Axis) -> Axis:
        if not axis.placed or axis.dim not in padded:
            return axis
        if not axis.exact or not axis.fills(tensor.shape):
            return axis.blurred()
        offset = before[axis.dim] * axis.jump
        count = call.result.shape[axis.dim]
        return replace(axis, low=axis.low - offset, high=axis.high - offset, count=count)

    return _each(field, shifted)


def _each(field: Field, change: Callable[[Axis], Axis]) -> Field:
    height, width = field
    return change(height), change(width)


FRESH = {aten.new_zeros, aten.new_ones, aten.new_empty, aten.new_full, aten.zeros_like}
FRESH |= {aten.ones_like, aten.empty_like, aten.full_like}
"""Operations that only use a tensor's shape."""

RULES: dict[object, Rule] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten._adaptive_avg_pool2d: _adaptive_pool,
    aten.adaptive_max_pool2d: _adaptive_pool,
    **dict.fromkeys((aten.mean, aten.sum, aten.amax, aten.linalg_vector_norm), _reduce),
    **dict.fromkeys((aten._softmax, aten._safe_softmax), _softmax),
    aten.native_layer_norm: _layer_norm,
    aten.native_group_norm: _group_norm,
    aten.native_batch_norm: _batch_norm,
    **dict.fromkeys(_FACTORS, _product),
    **dict.fromkeys((aten.view, aten._unsafe_view, aten.unsqueeze, aten.squeeze), _view),
    **dict.fromkeys((aten.permute, aten.transpose, aten.t), _permute),
    **dict.fromkeys(
        (aten.alias, aten.detach, aten._to_copy, aten.lift_fresh, aten.expand, aten.hardswish_),
        _same,
    ),
    aten.as_strided_: _restrided,
    aten.slice: _slice,
    **dict.fromkeys((aten.split, aten.split_with_sizes), _split),
    aten.select: _select,
    aten.cat: _cat,
    aten.roll: _roll,
    **dict.fromkeys((aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d), _pad),
}
