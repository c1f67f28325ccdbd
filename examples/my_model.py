"""A model of your own: cnnrun train digits_cnn model=tiny_cnn --plugin examples/my_model.py"""

from torch import Tensor, nn

from cnnrun.plugin import models


@models.register("tiny_cnn")
class TinyCNN(nn.Module):
    """One convolution, the average of each of its maps, one linear layer."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, *, width: int = 16):
        super().__init__()
        self.convolution = nn.Conv2d(input_shape[0], width, 3, padding=1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32, normalized, to logits (N, K)."""
        return self.head(self.convolution(images).relu().mean((2, 3)))
