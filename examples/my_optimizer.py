"""An optimizer of your own: cnnrun train digits_cnn optimizer=signsgd --plugin examples/my_optimizer.py"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cnnrun.plugin import optimizers


class SignSGD(torch.optim.Optimizer):
    """Steps of the same length whatever the gradient (Bernstein et al. 2018)."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(group["lr"] * weight.grad.sign())


@optimizers.register("signsgd")
def signsgd(parameters: list[Tensor], *, lr: float = 0.001) -> SignSGD:
    """Follows the sign of each gradient alone (Bernstein et al. 2018)."""
    return SignSGD(parameters, lr)
