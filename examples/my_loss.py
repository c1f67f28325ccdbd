"""A loss of your own: cnnrun train digits_cnn loss=brier --plugin examples/my_loss.py"""

import torch.nn.functional as F
from torch import Tensor, nn

from cnnrun.plugin import losses


@losses.register("brier")
class Brier(nn.Module):
    """Squared distance of the probabilities from the right answer (Brier 1950)."""

    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and labels (N,) or shares (N, K) to losses (N,), one for each sample."""
        shares = F.one_hot(targets, logits.shape[1]) if targets.dim() == 1 else targets
        return self.scale * (logits.softmax(1) - shares).square().sum(1)
