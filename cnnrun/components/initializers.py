"""Weight initializers: each fills one weight tensor; `initialize` applies one to a whole model.

Dense weights are (O, I), convolutions' (O, I, kh, kw), locally connected ones (P, O, I, kh, kw).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from cnnrun.errors import UserError
from cnnrun.models.locally_connected import LocallyConnected2d
from cnnrun.registry import Component, initializers
from cnnrun.runtime.torch_signatures import factory_like

Positive = Annotated[float, Field(gt=0)]
Nonlinearity = Literal["relu", "leaky_relu", "tanh", "sigmoid", "linear", "selu"]
FanMode = Literal["fan_in", "fan_out"]

# Functions of `torch.nn.init` that only fill weights of some dimensions; others are left alone.
_KERNELS, _MATRICES = ("convolutions", (3, 4, 5)), ("dense layers", (2,))
DIMENSIONS = {"dirac_": _KERNELS, "eye_": _MATRICES, "sparse_": _MATRICES}


def initialize(model: nn.Module, config: Component, loaded: Container[Tensor] = ()) -> None:
    """Initialize the weights of all dense and convolutional layers and set their biases to 0.

    Normalization layers are left alone; `default` leaves everything as torch initialized it.

    loaded: pretrained weights, which are kept.

    Raises:
        UserError: no weight of the model has the dimensions that the initializer fills.
    """
    if config.name == "default":
        return
    what, taken = DIMENSIONS.get(config.name.partition("/")[2], ("", ()))
    filled = not taken
    for module in model.modules():
        if not isinstance(module, LocallyConnected2d | nn.Linear | _ConvNd):
            continue
        one = module.kernels()[0] if isinstance(module, LocallyConnected2d) else module.weight
        if taken and one.dim() not in taken:
            continue
        filled = True
        if any(parameter in loaded for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, LocallyConnected2d):
            # For fan_in and fan_out, each position is a layer of its own.
            for kernels in module.kernels().data:
                initializers.build(config, weight=kernels)
        else:
            initializers.build(config, weight=module.weight.data)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if not filled:
        raise UserError(f"{config.name} fills only {what}, and this model has none")


@initializers.register("default")
def default(weight: Tensor) -> None:
    """PyTorch's own for each layer: uniform within 1/sqrt(fan_in), biases too."""


@initializers.register("zeros")
def zeros(weight: Tensor) -> None:
    """All weights 0: the units of a layer never differ."""
    nn.init.zeros_(weight)


@initializers.register("ones")
def ones(weight: Tensor) -> None:
    """All weights 1."""
    nn.init.ones_(weight)


@initializers.register("constant")
def constant(weight: Tensor, *, value: float = 0.5) -> None:
    """All weights `value`.

    value: What every weight is set to.
    """
    nn.init.constant_(weight, value)


@initializers.register("uniform")
def uniform(weight: Tensor, *, low: float = 0.0, high: float = 1.0) -> None:
    """Uniform between `low` and `high`.

    low: Smallest weight.
    high: Largest weight.
    """
    if low > high:
        raise UserError(f"uniform: low {low:g} is above high {high:g}; give both, low first")
    nn.init.uniform_(weight, low, high)


@initializers.register("normal")
def normal(weight: Tensor, *, mean: float = 0.0, std: Positive = 0.05) -> None:
    """Normal with `mean` and `std`.

    mean: Mean of the weights.
    std: Standard deviation of the weights.
    """
    nn.init.normal_(weight, mean, std)


@initializers.register("uniform_fan_in")
def uniform_fan_in(weight: Tensor) -> None:
    """Uniform within 1/sqrt(n), n the number of inputs of a unit (LeCun et al. 1998)."""
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(weight, -bound, bound)


@initializers.register("xavier_uniform")
def xavier_uniform(weight: Tensor, *, gain: Positive = 1.0) -> None:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010).

    gain: Factor of the standard deviation.
    """
    nn.init.xavier_uniform_(weight, gain)


@initializers.register("xavier_normal")
def xavier_normal(weight: Tensor, *, gain: Positive = 1.0) -> None:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010).

    gain: Factor of the standard deviation.
    """
    nn.init.xavier_normal_(weight, gain)


@initializers.register("kaiming_uniform")
def kaiming_uniform(
    weight: Tensor, *, mode: FanMode = "fan_in", nonlinearity: Nonlinearity = "relu"
) -> None:
    """Uniform with variance 2 / fan, which keeps the signal through ReLUs (He et al. 2015).

    mode: `fan_in` keeps the variance of activations, `fan_out` that of gradients.
    nonlinearity: The activation after the layer, which decides the gain.
    """
    nn.init.kaiming_uniform_(weight, mode=mode, nonlinearity=nonlinearity)


@initializers.register("kaiming_normal")
def kaiming_normal(
    weight: Tensor, *, mode: FanMode = "fan_in", nonlinearity: Nonlinearity = "relu"
) -> None:
    """Normal with variance 2 / fan, which keeps the signal through ReLUs (He et al. 2015).

    mode: `fan_in` keeps the variance of activations, `fan_out` that of gradients.
    nonlinearity: The activation after the layer, which decides the gain.
    """
    nn.init.kaiming_normal_(weight, mode=mode, nonlinearity=nonlinearity)


@initializers.register("orthogonal")
def orthogonal(weight: Tensor, *, gain: Positive = 1.0) -> None:
    """Rows (or columns) orthonormal, times `gain` (Saxe et al. 2014).

    gain: Factor of the orthonormal matrix.
    """
    nn.init.orthogonal_(weight, gain)


@initializers.register("trunc_normal")
def trunc_normal(weight: Tensor, *, mean: float = 0.0, std: Positive = 0.02) -> None:
    """Normal, truncated at two `std` from `mean`.

    mean: Middle of the distribution.
    std: Standard deviation before the tails are cut off.
    """
    nn.init.trunc_normal_(weight, mean, std, mean - 2 * std, mean + 2 * std)


def members() -> tuple[str, ...]:
    """The functions of `torch.nn.init`."""
    return tuple(n for n in vars(nn.init) if n.endswith("_") and not n.startswith("_"))


@initializers.libraries.register("torch", members, {})
def torch_initializer(member: str) -> Callable[..., Any]:
    """The functions of torch.nn.init by their own names.

    dirac_ fills convolutions alone, eye_ and sparse_ dense layers.
    """
    function = getattr(nn.init, member)

    def made(weight: Tensor, **keys: Any) -> None:
        try:
            function(weight, **keys)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"torch.nn.init.{member}: {error}") from error

    return factory_like(function, made, given=["weight"], leave_out=("generator",))
