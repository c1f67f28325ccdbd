"""The state of an optimizer in a checkpoint, checked against its parameters before use.

Fused kernels trust it: a moment shorter than its weight would be written beyond its end.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cnnrun.components.optimizers.newer import Lamb, Lion
from cnnrun.errors import UserError

# Optimizers with moments in the weights' shapes; others check their state in Python.
_OF_MOMENTS = (
    *(torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop),
    *(torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam),
    *(torch.optim.RAdam, torch.optim.Rprop, torch.optim.ASGD, Lion, Lamb),
)


def with_groups_that_unfreeze(optimizer: torch.optim.Optimizer, state: Any) -> Any:
    """`state`, completed by the last of `optimizer`'s groups.

    In earlier versions frozen parameters had no group before they were unfrozen.
    """
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not groups:
        return state
    later = optimizer.state_dict()["param_groups"][len(groups) :]
    return {**state, "param_groups": [*groups, *later]}


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Refuse a state (`optimizer.state_dict()`) that does not fit this optimizer.

    Raises:
        UserError: it belongs to other parameters, or a moment is missing or has another shape.
    """
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    held = state.get("state") if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not isinstance(held, Mapping):
        raise _foreign("it has no groups of parameters")
    if [_count(group) for group in groups] != [len(g["params"]) for g in optimizer.param_groups]:
        raise _foreign("it has other groups of parameters")
    if not isinstance(optimizer, _OF_MOMENTS):
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    wanted = _moments(optimizer)
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in held:
            _check(number, held[number], parameter, wanted)


def _count(group: Any) -> int | None:
    held = group.get("params") if isinstance(group, Mapping) else None
    if not isinstance(held, list) or not all(isinstance(number, int) for number in held):
        return None
    return len(held)


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, bool]:
    """The keys of this kind of optimizer's state after a step: whether each is a number."""
    probe = torch.zeros(1, requires_grad=True)
    probe.grad = torch.zeros(1)
    try:
        taken = inspect.signature(type(optimizer)).parameters
        options = {key: value for key, value in optimizer.defaults.items() if key in taken}
        other = type(optimizer)([probe], **options)
        other.step()
    except Exception:  # a custom one, with other arguments
        return {}
    held = other.state[probe].items()
    # A tensor of shape (1,) or ().
    return {key: not getattr(value, "shape", ()) for key, value in held if value is not None}


def _check(number: int, state: Any, parameter: Tensor, wanted: Mapping[str, bool]) -> None:
    if not isinstance(state, Mapping):
        raise _foreign(f"parameter {number} has none")
    for key in wanted:
        # SGD's is None before its first step with momentum.
        if key not in state or (state[key] is None and key != "momentum_buffer"):
            raise _foreign(f"parameter {number} lacks '{key}'")
    for key, value in state.items():
        if key == "step":
            _check_step(number, value)
        elif isinstance(value, Tensor):
            shape = () if wanted.get(key) else parameter.shape
            if value.shape != shape:
                shapes = f"{tuple(value.shape)} instead of {tuple(shape)}"
                raise _foreign(f"'{key}' of parameter {number} is {shapes}")
            if not value.is_floating_point() or value.layout != torch.strided:
                raise _foreign(f"'{key}' of parameter {number} is {value.dtype}, {value.layout}")


def _check_step(number: int, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 and not value.is_complex() else None
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise _foreign(f"'step' of parameter {number} is not a number of steps")


def _foreign(why: str) -> UserError:
    return UserError(f"the checkpoint's state of the optimizer is not of this experiment: {why}")


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load `state`, but keep learning rates and the like of the experiment."""
    current = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    _lay_out(optimizer)
    for group, values in zip(optimizer.param_groups, current, strict=True):
        group.update(values)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the memory format of their weights: fused kernels rely on it.

    It may differ from the saved one, e.g. if `channels_last` was changed.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
