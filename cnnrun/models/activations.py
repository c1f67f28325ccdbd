"""Activation functions by name: the usual ones, and any of torch by its own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from torch import nn
from torch.nn.modules import activation as library

from cnnrun.errors import UserError, did_you_mean
from cnnrun.library import Libraries
from cnnrun.registry import Component
from cnnrun.runtime.torch_signatures import factory_like

_TorchName = Annotated[str, Field(pattern=r"^torch/\w+$")]


class TorchActivation(Component):
    """An activation of torch with keys, as `{name: torch/LeakyReLU, negative_slope: 0.2}`."""

    model_config = ConfigDict(extra="allow")

    name: _TorchName


Activation = (
    Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"]
    | _TorchName
    | TorchActivation
)

_CLASSES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
_NOT_MAPS = "gives maps of another shape or meaning than it gets"
_REFUSED = {
    "MultiheadAttention": "is a layer with weights, no activation",
    **dict.fromkeys(("GLU", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"), _NOT_MAPS),
}
_libraries = Libraries("activation", "cnnrun.registry:Component")


def members() -> tuple[str, ...]:
    """The names of `torch.nn` activations that can be used."""
    return tuple(name for name in library.__all__ if name not in _REFUSED)


@_libraries.register("torch", members, _REFUSED)
def _torch_activation(member: str) -> Callable[..., Any]:
    kind = getattr(nn, member)
    return factory_like(kind, kind, leave_out=("inplace", "device", "dtype"))


def activation_layer(given: Activation) -> nn.Module:
    """A new module of an activation.

    Raises:
        UserError: torch has none of this name, or it does not take these keys.
    """
    if isinstance(given, str) and given in _CLASSES:
        return _CLASSES[given]()
    keys = {"name": given} if isinstance(given, str) else given.model_dump()
    name = keys["name"]
    entry = _libraries.get(name)
    if entry is None:
        hint = did_you_mean(name, _libraries.names_beside(name))
        raise UserError(f"activation: unknown name '{name}'{hint}")
    try:
        options = entry.schema()(**keys).model_dump(exclude={"name"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key, message = str(first["loc"][0]), first["msg"]
        if first["type"] == "extra_forbidden":
            message = f"{name} has no such key{did_you_mean(key, entry.parameters)}"
        raise UserError(f"activation.{key}: {message}") from error
    layer: nn.Module = entry.factory(**options)
    return layer


def activation_name(given: Activation) -> str:
    """The layer's name in its block: `relu`, or `GELU` for torch's."""
    return (given if isinstance(given, str) else given.name).rpartition("/")[2]
