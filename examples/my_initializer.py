"""Initial weights of your own: cnnrun train digits_cnn initializer=ternary --plugin examples/my_initializer.py"""

import torch
from torch import Tensor

from cnnrun.plugin import initializers


@initializers.register("ternary")
def ternary(weight: Tensor, *, scale: float = 1.0) -> None:
    """Each weight is -s, 0 or s, with the variance 1 / fan_in."""
    fan_in = weight[0].numel()
    weight.copy_(torch.randint(-1, 2, weight.shape) * scale * (1.5 / fan_in) ** 0.5)
