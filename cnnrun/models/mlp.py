"""Fully connected networks: every input to every unit, regardless of pixel positions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from cnnrun.models.activations import Activation, activation_layer
from cnnrun.models.dropout import Dropout
from cnnrun.registry import models

Widths = list[Annotated[int, Field(ge=1)]]
Probability = Annotated[float, Field(ge=0, lt=1)]


@models.register("mlp")
class MLP(nn.Module):
    """Multilayer perceptron on the flattened image."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        hidden: Widths = [512, 512],
        activation: Activation = "relu",
        dropout: Probability = 0.0,
        batch_norm: bool = False,
    ) -> None:
        """hidden: Units of each hidden layer; `[]` makes it softmax regression.
        activation: Activation after each hidden layer.
        dropout: Chance that a hidden unit is set to 0.
        batch_norm: Batch normalization before each activation.
        """
        super().__init__()
        inputs = math.prod(input_shape)
        self.features = nn.Sequential(
            nn.Flatten(), *hidden_layers(inputs, hidden, activation, dropout, batch_norm)
        )
        self.head = nn.Linear(hidden[-1] if hidden else inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def hidden_layers(
    inputs: int, widths: list[int], activation: Activation, dropout: float, batch_norm: bool
) -> Iterator[nn.Module]:
    """Linear, normalization (if asked), activation, dropout (if any), for each width."""
    for width in widths:
        yield nn.Linear(inputs, width)
        if batch_norm:
            yield nn.BatchNorm1d(width)
        yield activation_layer(activation)
        if dropout:
            yield Dropout(dropout)
        inputs = width
