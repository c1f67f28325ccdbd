"""The feature maps of a network, the last ones of each size, for what is built on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.hooks import visiting
from cnnrun.models.surgery import StoppedAt, evaluated


class Stages(nn.Module):
    """A network that is left after its last feature maps, and gives those of every size."""

    def __init__(self, model: nn.Module, images: Tensor, name: str) -> None:
        """images: (1, C, H, W), such as it takes. name: of the network, for messages.

        Raises:
            UserError: there are no maps of two sizes or more.
        """
        super().__init__()
        found = last_of_each_size(model, images)
        if len(found) < 2:
            raise UserError(
                f"encoder: {name} gives no feature maps of two sizes or more to build on"
            )
        self.channels = list(found.values())
        self.maps = _traced(model, list(found)) or _Watched(model, list(found), images)
        shapes = [maps.shape[1] for maps in evaluated(self, images)]
        if shapes != self.channels:
            raise UserError(
                f"encoder: {name} uses its layers several times, so its maps are unknown"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) float32 to maps (N, channels[k], h, w), the largest first."""
        found: list[Tensor] = self.maps(images)
        return found


def _traced(model: nn.Module, names: list[str]) -> nn.Module | None:
    """What gives the outputs of the named modules, as a graph; None for a model that has none."""
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        return _InOrder(create_feature_extractor(model, {name: name for name in names}), names)
    except Exception:
        return None  # whatever Python a model's `forward` may hold


class _InOrder(nn.Module):
    """The outputs of a feature extractor as a list."""

    def __init__(self, extractor: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.extractor, self.names = extractor, names

    def forward(self, images: Tensor) -> list[Tensor]:
        found = self.extractor(images)
        return [found[name] for name in self.names]


class _Watched(nn.Module):
    """The same of a model that runs as it is, and is left at the last of the modules."""

    def __init__(self, model: nn.Module, names: list[str], images: Tensor) -> None:
        super().__init__()
        self.names = names
        StoppedAt(model, names[-1]).drop_what_follows(images)
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        kept: dict[str, Tensor] = {}
        hooks = [
            self.model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: kept.__setitem__(name, output)
            )
            for name in self.names[:-1]
        ]
        try:
            last = StoppedAt.run(self.model, self.names[-1], images)
        finally:
            for hook in hooks:
                hook.remove()
        return [*(kept[name] for name in self.names[:-1]), last]


@torch.no_grad()
def last_of_each_size(model: nn.Module, images: Tensor) -> dict[str, int]:
    """The modules that give the last feature maps of each size, and how many maps; largest first.

    Maps have the proportions of the images and more than one pixel; they only become smaller.

    images: (1, C, H, W).
    """
    height, width = images.shape[2:]
    found: dict[int, tuple[str, int]] = {}
    smallest = height + 1

    def note(name: str, _layer: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal smallest
        if not isinstance(output, Tensor) or output.dim() != 4 or min(output.shape[2:]) < 2:
            return
        rows, columns = output.shape[2:]
        # Rounding at each halving moves a side by less than a pixel.
        alike = abs(rows * width - columns * height) <= max(height, width)
        if rows > smallest or not alike or (rows == columns and height != width):
            return
        smallest = rows
        found[rows] = (name, output.shape[1])

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with visiting(((name, module) for name, module in model.named_modules() if name), note):
            model(images)
    finally:
        for module, training in modes.items():
            module.training = training
    return dict(found[rows] for rows in sorted(found, reverse=True))
