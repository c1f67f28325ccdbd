"""Every optimizer of torch by its own name: `torch/NAdam`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from cnnrun.components.optimizers.keys import refuse_several_rates
from cnnrun.errors import UserError
from cnnrun.registry import optimizers
from cnnrun.runtime.torch_signatures import factory_like

_REFUSED = {
    "Optimizer": "is the base class; use a class derived from it",
    "SparseAdam": "takes only sparse gradients, which no layer here gives: use adam",
    "Muon": "steps only matrices, and networks also have other weights: use muon, which steps "
    "these as adamw does",
}
# For CUDA graphs and for differentiating through the step, which the loop does not do.
_NOT_KEYS = ("capturable", "differentiable")


def members() -> tuple[str, ...]:
    """The names of `torch.optim` that can be used."""
    found = {name: getattr(torch.optim, name) for name in torch.optim.__all__}
    classes = [name for name, value in found.items() if inspect.isclass(value)]
    return tuple(name for name in classes if name not in _REFUSED)


@optimizers.libraries.register("torch", members, _REFUSED)
def torch_optimizer(member: str) -> Callable[..., Any]:
    """Any optimizer of torch.optim by its own name, with torch's own keys and defaults."""
    kind = getattr(torch.optim, member)

    def made(parameters: list[Any], **options: Any) -> torch.optim.Optimizer:
        if member == "LBFGS":
            refuse_several_rates("torch/LBFGS", parameters)
        try:
            optimizer: torch.optim.Optimizer = kind(parameters, **options)
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(f"torch.optim.{member}: {error}") from error
        return optimizer

    return factory_like(kind, made, given=["parameters"], leave_out=("params", *_NOT_KEYS))
