"""What named layers of any network see in an image, for the loss of style transfer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError, did_you_mean_or_sizes
from cnnrun.models.feature_stages import are_maps, last_maps
from cnnrun.models.layer_outputs import LayerOutputs, layer_shapes
from cnnrun.runtime.weights import load_weights

# Height and width of the image that layers are looked for with: of other proportions than a square,
# so that maps whose channels come last are not taken for others.
PROBE = (160, 224)
# As the eye weighs red, green and blue (ITU-R BT.601).
_GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Judge:
    """A network with its weights, and how images are normalized for it.

    name: of the network, for messages. mean, std: of each channel that it takes (one or three), in
    units of 0..1. weights: of a file, still to be loaded into the layers that are needed.
    """

    network: nn.Module
    name: str
    mean: Sequence[float]
    std: Sequence[float]
    weights: dict[str, Tensor] | None = None


class NetworkFeatures(nn.Module):
    """Some layers of a network, frozen and in eval mode; it is left after the last of them."""

    mean: Tensor
    std: Tensor
    gray: Tensor

    def __init__(self, judge: Judge, layers: Sequence[str], average: bool) -> None:
        """layers: by module name. average: take averages where the network pools by maximum.

        Raises:
            UserError: a layer that there is not, or whose output is no feature maps.
        """
        super().__init__()
        self.name, self.channels = judge.name, len(judge.mean)
        network = judge.network.eval().requires_grad_(requires_grad=False)
        if average:
            _average_pools(network, judge.name)
        probe = torch.zeros(1, self.channels, *PROBE)
        self.wanted = _in_order_of_use(network, judge.name, list(dict.fromkeys(layers)), probe)
        self.outputs = LayerOutputs(network, self.wanted, probe)
        if judge.weights is not None:
            # The layers that are left out may be made for images of another size.
            needed = self.outputs.model.state_dict()
            fitting = {key: value for key, value in judge.weights.items() if key in needed}
            load_weights(self.outputs.model, fitting or judge.weights)
        self.register_buffer("gray", torch.tensor(_GRAY).view(1, 3, 1, 1))
        self.register_buffer("mean", torch.tensor(judge.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(judge.std).view(1, -1, 1, 1))
        self.train(mode=False)

    def train(self, mode: bool = True) -> NetworkFeatures:  # noqa: ARG002
        """It stays in eval mode: what it sees in an image depends on that image alone."""
        return super().train(mode=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) in 0..1 to the maps (N, C, h, w) of each wanted layer."""
        if self.channels == 1:
            images = (images * self.gray).sum(1, keepdim=True)
        maps = self.outputs((images - self.mean) / self.std)
        return dict(zip(self.wanted, maps, strict=True))

    @torch.no_grad()
    def check_size(self, size: tuple[int, ...]) -> None:
        """Refuse images of `size` (height, width) that are too small for the network.

        Raises:
            UserError: they are.
        """
        if size[0] >= PROBE[0] and size[1] >= PROBE[1]:
            return  # larger than those that were tried
        try:
            self(torch.zeros(1, 3, *size, device=self.mean.device))
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            raise UserError(
                f"network: {self.name} can't take an image of {size[1]} x {size[0]} pixels "
                "(dataset.longest, model.stages)"
            ) from error


def _in_order_of_use(
    network: nn.Module, name: str, layers: Sequence[str], probe: Tensor
) -> list[str]:
    """`layers` as the network comes to them, each of which gives feature maps, once.

    Raises:
        UserError: others don't, or the network does not come to them.
    """
    known = [layer for layer, _ in network.named_modules() if layer]
    shapes, problem = layer_shapes(network, probe)
    uses = Counter(layer for layer, _ in shapes)
    others = list(last_maps(shapes, probe))[:8]
    hint = f"; its last feature maps of each size are {', '.join(others)}" if others else ""
    for layer in layers:
        if layer not in known:
            near = did_you_mean_or_sizes(layer, known)
            raise UserError(f"{name} has no layer '{layer}'{near or hint}")
        if layer not in uses and problem is not None:
            width, height = probe.shape[3], probe.shape[2]
            raise UserError(f"network: {name} can't take images of {width} x {height}: {problem}")
        if uses[layer] != 1:
            times = f"{uses[layer]} times" if uses[layer] else "not at all"
            raise UserError(f"the layer '{layer}' of {name} is used {times}, and not once{hint}")
        if not are_maps(dict(shapes)[layer], probe):
            message = "gives no feature maps (N, C, height, width)"
            raise UserError(f"the layer '{layer}' of {name} {message}{hint}")
    return [layer for layer, _ in shapes if layer in layers]


def _average_pools(network: nn.Module, name: str) -> None:
    """Replace all max pooling by average pooling (Gatys et al. 2016).

    Raises:
        UserError: there is no max pooling.
    """
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.MaxPool2d)]
    if not found:
        raise UserError(f"pooling: {name} has no max pooling layers; leave it out")
    for place, layer in found:
        average = nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
        network.set_submodule(place, average)
