"""A network's last feature maps of each size, to build on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.models.layer_outputs import LayerOutputs, layer_shapes
from cnnrun.models.surgery import evaluated


class Stages(nn.Module):
    """A network cut after its last feature maps; returns those of every size."""

    def __init__(self, model: nn.Module, images: Tensor, name: str) -> None:
        """images: (1, C, H, W), a valid input. name: of the network, for messages.

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
        self.maps: _InOrder | LayerOutputs = _traced(model, list(found)) or LayerOutputs(
            model, list(found), images
        )
        shapes = [maps.shape[1] for maps in evaluated(self, images)]
        if shapes != self.channels:
            raise UserError(
                f"encoder: {name} uses its layers several times, so its maps are unknown"
            )

    @property
    def network(self) -> nn.Module:
        """The layers that are left of the network, under their own names."""
        maps = self.maps
        return maps.extractor if isinstance(maps, _InOrder) else maps.model

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) float32 to maps (N, channels[k], h, w), the largest first."""
        found: list[Tensor] = self.maps(images)
        return found


def _traced(model: nn.Module, names: list[str]) -> _InOrder | None:
    """A graph that returns the outputs of the named modules; None if the model can't be traced."""
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        return _InOrder(create_feature_extractor(model, {name: name for name in names}), names)
    except Exception:
        return None  # `forward` may contain any Python code


class _InOrder(nn.Module):
    """The outputs of a feature extractor as a list."""

    def __init__(self, extractor: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.extractor, self.names = extractor, names

    def forward(self, images: Tensor) -> list[Tensor]:
        found = self.extractor(images)
        return [found[name] for name in self.names]


def last_of_each_size(model: nn.Module, images: Tensor) -> dict[str, int]:
    """The modules that give the last feature maps of each size, and how many maps; largest first.

    Maps have the proportions of the images and more than one pixel; they only become smaller.

    images: (1, C, H, W).
    """
    shapes, problem = layer_shapes(model, images)
    if problem:
        raise problem
    return last_maps(shapes, images)


def last_maps(shapes: Iterable[tuple[str, torch.Size]], images: Tensor) -> dict[str, int]:
    """See `last_of_each_size`; of what `layer_shapes` found for these images."""
    found: dict[int, tuple[str, int]] = {}
    smallest = images.shape[2] + 1
    for name, shape in shapes:
        if are_maps(shape, images) and min(shape[2:]) > 1 and shape[2] <= smallest:
            smallest = shape[2]
            found[smallest] = (name, shape[1])
    return dict(found[rows] for rows in sorted(found, reverse=True))


def are_maps(shape: torch.Size, images: Tensor) -> bool:
    """Whether a tensor of `shape` holds (N, C, h, w), where h x w are the images made smaller."""
    if len(shape) != 4:
        return False
    (rows, columns), (height, width) = shape[2:], images.shape[2:]
    # Rounding at each halving moves a side by less than a pixel.
    alike = abs(rows * width - columns * height) <= max(height, width)
    return alike and (rows != columns or height == width)
