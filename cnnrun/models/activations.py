"""Activation functions by name: the usual ones, and any of torch by its own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from torch import nn
from torch.nn.modules import activation as library

from cnnrun.registry import Named, Nested, activations
from cnnrun.runtime.torch_signatures import factory_like

_NESTED = Nested(activations)
Activation = Annotated[Named, _NESTED]

_NOT_MAPS = "gives maps of another shape or meaning than it gets"
_REFUSED = {
    "MultiheadAttention": "is a layer with weights, no activation",
    **dict.fromkeys(("GLU", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"), _NOT_MAPS),
}


@activations.register("relu")
def relu() -> nn.Module:
    """max(0, x) (Nair & Hinton 2010)."""
    return nn.ReLU()


@activations.register("leaky_relu")
def leaky_relu() -> nn.Module:
    """x, or 0.01 x where x is negative (Maas et al. 2013)."""
    return nn.LeakyReLU()


@activations.register("elu")
def elu() -> nn.Module:
    """x, or exp(x) - 1 where x is negative (Clevert et al. 2015)."""
    return nn.ELU()


@activations.register("gelu")
def gelu() -> nn.Module:
    """x times the normal distribution up to x (Hendrycks & Gimpel 2016)."""
    return nn.GELU()


@activations.register("silu")
def silu() -> nn.Module:
    """x sigmoid(x), also called swish (Ramachandran et al. 2017)."""
    return nn.SiLU()


@activations.register("tanh")
def tanh() -> nn.Module:
    """The hyperbolic tangent, between -1 and 1."""
    return nn.Tanh()


@activations.register("sigmoid")
def sigmoid() -> nn.Module:
    """1 / (1 + exp(-x)), between 0 and 1."""
    return nn.Sigmoid()


@activations.register("identity")
def identity() -> nn.Module:
    """No activation: x unchanged."""
    return nn.Identity()


def members() -> tuple[str, ...]:
    """The names of `torch.nn` activations that can be used."""
    return tuple(name for name in library.__all__ if name not in _REFUSED)


@activations.libraries.register("torch", members, _REFUSED)
def _torch_activation(member: str) -> Callable[..., Any]:
    """Activations of torch.nn by their own names, with their own keys."""
    kind = getattr(nn, member)
    return factory_like(kind, kind, leave_out=("inplace", "device", "dtype"))


def activation_layer(given: Activation) -> nn.Module:
    """A new module of an activation.

    Raises:
        UserError: there is none of this name, or it does not take these keys.
    """
    layer: nn.Module = activations.build(_NESTED.checked(given))
    return layer


def activation_name(given: Activation) -> str:
    """The layer's name in its block: `relu`, or `GELU` for torch's."""
    name: str = _NESTED.checked(given).name
    return name.rpartition("/")[2]
