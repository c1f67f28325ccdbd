"""Newer optimizers, with defaults that suit small and medium-sized networks.

Lion, LAMB and Muon are not in torch, or only for matrices; NAdam and RAdam are torch's.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from cnnrun.components.optimizers.keys import Below1, Beta1, Beta2, Epsilon, Rate, WeightDecay
from cnnrun.registry import optimizers


@optimizers.register("nadam")
def nadam(
    parameters: list[Any],
    *,
    lr: Rate = 2e-3,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-8,
    weight_decay: WeightDecay = 0.0,
) -> torch.optim.Optimizer:
    """Adam with Nesterov's momentum (Dozat 2016); its weight decay is decoupled."""
    return torch.optim.NAdam(
        parameters,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
    )


@optimizers.register("radam")
def radam(
    parameters: list[Any],
    *,
    lr: Rate = 1e-3,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-8,
    weight_decay: WeightDecay = 0.0,
) -> torch.optim.Optimizer:
    """Adam that starts as plain momentum and so needs no warm-up (Liu et al. 2020)."""
    return torch.optim.RAdam(
        parameters,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
    )


class Lion(torch.optim.Optimizer):
    """The sign of an interpolated momentum (Chen et al. 2023, algorithm 2)."""

    def __init__(
        self,
        parameters: Any,
        lr: float = 3e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        keys = {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
        super().__init__(parameters, keys)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        """See `torch.optim.Optimizer.step`."""
        for group in self.param_groups:
            for weight in _with_gradients(group):
                state = self.state[weight]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weight)
                average, gradient = state["exp_avg"], weight.grad
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(average.lerp(gradient, 1 - group["beta1"]).sign_(), alpha=group["lr"])
                average.lerp_(gradient, 1 - group["beta2"])


@optimizers.register("lion")
def lion(
    parameters: list[Any],
    *,
    lr: Rate = 3e-4,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.99,
    weight_decay: WeightDecay = 0.03,
) -> Lion:
    """Steps of one length along the sign of a momentum; half of Adam's memory (Chen et al. 2023).

    Use a third to a tenth of AdamW's learning rate, and as many times its weight decay.
    """
    return Lion(parameters, lr, beta1, beta2, weight_decay)


class Lamb(torch.optim.Optimizer):
    """AdamW whose step in each layer has the length of the layer's weights (You et al. 2020)."""

    def __init__(
        self,
        parameters: Any,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        keys = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
        super().__init__(parameters, keys)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        """See `torch.optim.Optimizer.step`."""
        for group in self.param_groups:
            for weight in _with_gradients(group):
                direction = _adam_direction(weight, self.state[weight], group)
                direction.add_(weight, alpha=group["weight_decay"])
                lengths = weight.norm(), direction.norm()
                # Computed on the device, so that the loop need not wait: 1 where one of them is 0.
                both = (lengths[0] > 0) & (lengths[1] > 0)
                ratio = torch.where(both, lengths[0] / lengths[1], 1.0)
                weight.sub_(direction.mul_(ratio), alpha=group["lr"])


@optimizers.register("lamb")
def lamb(
    parameters: list[Any],
    *,
    lr: Rate = 5e-3,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-6,
    weight_decay: WeightDecay = 0.01,
) -> Lamb:
    """Adam with a learning rate per layer, by its weights' norm (You et al. 2020)."""
    return Lamb(parameters, lr, beta1, beta2, eps, weight_decay)


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum for matrices, AdamW for the rest (Jordan et al. 2024).

    A convolution (O, I, kh, kw) is the matrix (O, I kh kw). Steps are scaled to the size of AdamW's
    (Liu et al. 2025), so that one learning rate serves both.
    """

    def __init__(
        self,
        parameters: Any,
        lr: float,
        momentum: float,
        iterations: int,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        keys = {"lr": lr, "momentum": momentum, "iterations": iterations, "eps": eps}
        keys |= {"beta1": betas[0], "beta2": betas[1], "weight_decay": weight_decay}
        super().__init__(parameters, keys)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        """See `torch.optim.Optimizer.step`."""
        for group in self.param_groups:
            for weight in _with_gradients(group):
                state = self.state[weight]
                rows, columns = len(weight) if weight.dim() else 1, weight[:1].numel()
                is_matrix = weight.dim() > 1 and min(rows, columns) > 1
                direction = (_muon_direction if is_matrix else _adam_direction)(
                    weight, state, group
                )
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(direction, alpha=group["lr"])


@optimizers.register("muon")
def muon(
    parameters: list[Any],
    *,
    lr: Rate = 2e-3,
    momentum: Below1 = 0.95,
    iterations: Annotated[int, Field(ge=1, le=20)] = 5,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-8,
    weight_decay: WeightDecay = 0.01,
) -> Muon:
    """Orthogonal steps for weights that are matrices, AdamW for the rest (Jordan et al. 2024).

    momentum: Fraction of the last step that the next one keeps, in matrices.
    iterations: Newton-Schulz iterations that make a step orthogonal.
    """
    return Muon(parameters, lr, momentum, iterations, (beta1, beta2), eps, weight_decay)


def _with_gradients(group: dict[str, Any]) -> list[Any]:
    return [weight for weight in group["params"] if weight.grad is not None]


def _adam_direction(weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Adam's step at a rate of 1, without weight decay (Kingma & Ba 2015): like `weight`."""
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight))
    state["step"] += 1
    mean, square, gradient = state["exp_avg"], state["exp_avg_sq"], weight.grad
    assert gradient is not None
    mean.lerp_(gradient, 1 - group["beta1"])
    square.mul_(group["beta2"]).addcmul_(gradient, gradient, value=1 - group["beta2"])
    root = (square / (1 - group["beta2"] ** state["step"])).sqrt_().add_(group["eps"])
    direction: Tensor = (mean / (1 - group["beta1"] ** state["step"])).div_(root)
    return direction


def _muon_direction(weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Muon's step at a rate of 1, without weight decay: like `weight`, its mean square 0.04."""
    if not state:
        state["momentum_buffer"] = torch.zeros_like(weight)
    average, gradient = state["momentum_buffer"], weight.grad
    assert gradient is not None
    average.lerp_(gradient, 1 - group["momentum"])
    matrix = gradient.lerp(average, group["momentum"]).flatten(1)  # Nesterov's look-ahead
    size = 0.2 * max(matrix.shape) ** 0.5
    orthogonal = orthogonalized(matrix, group["iterations"])
    return orthogonal.mul(size).view_as(weight)


def orthogonalized(matrix: Tensor, iterations: int) -> Tensor:
    """A matrix (A, B) with singular values near 1 and the singular vectors of `matrix`.

    By Newton-Schulz iterations, whose coefficients (Jordan et al. 2024) are for speed: the singular
    values end between 0.7 and 1.2. Too few iterations leave small ones smaller.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(iterations):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T
