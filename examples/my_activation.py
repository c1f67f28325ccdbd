"""An activation of your own: cnnrun train digits_cnn model.activation=squareplus --plugin examples/my_activation.py"""

import torch
from torch import Tensor, nn

from cnnrun.plugin import activations


class Squareplus(nn.Module):
    """(x + sqrt(x^2 + bend)) / 2 (Barron 2021)."""

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bend = bend

    def forward(self, maps: Tensor) -> Tensor:
        return (maps + torch.sqrt(maps * maps + self.bend)) / 2


@activations.register("squareplus")
def squareplus(*, bend: float = 4.0) -> nn.Module:
    """A smooth ReLU without exponentials."""
    return Squareplus(bend)
