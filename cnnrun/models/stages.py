"""Where the early features of a network end: after which of its stages `small_different` cuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from cnnrun.errors import UserError
from cnnrun.models.surgery import evaluated


@dataclass
class _Place:
    """A point that the whole computation passes through.

    layers: number of layers with weights before it.
    height: of the last of these layers' maps, before any pooling that follows.
    """

    name: str
    layers: int
    height: int


def early_stage(model: nn.Module, input_shape: tuple[int, ...]) -> str:
    """The stage that ends nearest to a third of the layers: edges and textures, not yet objects.

    A stage ends where maps become smaller; a network without such places is cut after a block.

    Raises:
        UserError: there are no feature maps after that many layers, as in a vision transformer.
    """
    places = _places(model, input_shape)
    layers = sum(isinstance(module, nn.Linear | _ConvNd) for module in model.modules())
    stages = [a for a, b in pairwise(places) if b.height < a.height]
    candidates = stages or places[:-1] or places
    chosen = min(candidates, key=lambda place: abs(place.layers - layers / 3), default=None)
    if chosen is None or chosen.layers < layers / 10:
        raise UserError(
            "case: small_different: there is no stage of feature maps to cut this model after; "
            "name a layer instead (`cnnrun describe` lists them): cut, with freeze: features, "
            "head: []"
        )
    return chosen.name


def _places(model: nn.Module, input_shape: tuple[int, ...]) -> list[_Place]:
    """The places with feature maps, the first one first."""
    places: list[_Place] = []
    layers = 0
    entered: dict[str, int] = {}

    def count(*_: object) -> None:
        nonlocal layers
        layers += 1

    def enter(name: str) -> None:
        entered[name] = layers

    def leave(name: str, result: object) -> None:
        if not isinstance(result, Tensor) or result.dim() != 4:
            return
        height, width = result.shape[2:]
        channels_last = height != width and input_shape[1] == input_shape[2]
        # Operations before the first layer of a part belong to that part.
        starts = entered.get(name.rpartition(".")[0], 0) == layers
        if channels_last or starts or name == "features":
            return
        if places and places[-1].layers == layers:
            places[-1].name = name
        else:
            places.append(_Place(name, layers, height))

    hooks = [
        module.register_forward_pre_hook(count)
        for module in model.modules()
        if isinstance(module, nn.Linear | _ConvNd)
    ]
    for name, module in _trunk(model):
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
        hooks.append(module.register_forward_hook(lambda *given, name=name: leave(name, given[2])))
    try:
        evaluated(model, torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return places


def _trunk(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The model's own parts, and theirs where they compute one after the other."""
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential):
            yield from _trunk(child, f"{prefix}{name}.")
        yield prefix + name, child
