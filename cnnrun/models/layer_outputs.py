"""What some layers of a network give for images, by forward hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.models.hooks import visiting
from cnnrun.models.surgery import StoppedAt


class LayerOutputs(nn.Module):
    """A network that runs unchanged, is stopped at a layer, and returns some layers' outputs."""

    def __init__(self, model: nn.Module, names: Sequence[str], images: Tensor) -> None:
        """names: layers, in the order in which `model` uses them; it is left at the last one.

        images: (N, C, H, W), such as it takes; layers that they show to be spare are taken out.
        """
        super().__init__()
        self.names = list(names)
        StoppedAt(model, self.names[-1]).drop_what_follows(images)
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) float32 to the layers' outputs, in the order of `names`."""
        kept: dict[str, Tensor] = {}

        def keep(name: str, _layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            kept[name] = output.clone()  # what follows may work in place

        layers = [(name, self.model.get_submodule(name)) for name in self.names[:-1]]
        with visiting(layers, keep):
            last = StoppedAt.run(self.model, self.names[-1], images)
        return [*(kept[name] for name in self.names[:-1]), last]


@torch.no_grad()
def layer_shapes(
    model: nn.Module, images: Tensor
) -> tuple[list[tuple[str, torch.Size]], Exception | None]:
    """The tensors that the layers of `model`, in eval mode, give for images (N, C, H, W).

    Returns: (layer, shape) for each use of each layer, in the order in which they end; and what
        ended the pass early, as a head for images of another size does, after all feature maps.
    """
    found: list[tuple[str, torch.Size]] = []

    def note(name: str, _layer: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found.append((name, output.shape))

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with visiting(((name, layer) for name, layer in model.named_modules() if name), note):
            model(images)
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        return found, error
    finally:
        for module, training in modes.items():
            module.training = training
    return found, None
