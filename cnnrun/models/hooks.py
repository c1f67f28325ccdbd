"""The layers of a model by name and depth, and their outputs for images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError, did_you_mean_or_sizes

Visit = Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], None]
"""Called with a layer's name, the layer, its inputs and its output."""


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """The layer of `model` that is called `name`, e.g. `features.0`.

    Raises:
        UserError: there is none.
    """
    layers = [known for known, _ in model.named_modules() if known]
    if name not in layers:
        raise UserError(
            f"layer: the model has no layer '{name}'"
            + (did_you_mean_or_sizes(name, layers) or f"; it has {', '.join(layers[:12])} ...")
        )
    return model.get_submodule(name)


@torch.no_grad()
def visit_layers(model: nn.Module, images: Tensor, visit: Visit) -> None:
    """Call `visit` for each layer as it runs on `images` (N, C, H, W) in eval mode.

    In order of computation, without layers that contain others; a layer used several times is
    visited as often. Read outputs at once: a later layer may work in place.
    """
    single = ((n, layer) for n, layer in model.named_modules() if not list(layer.children()))
    model.eval()
    with visiting(single, visit):
        model(images)


@contextmanager
def visiting(layers: Iterable[tuple[str, nn.Module]], visit: Visit) -> Iterator[None]:
    """Within the block, call `visit` for each of the named layers as it runs."""
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, output, name=name: visit(name, layer, inputs, output)
        )
        for name, layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def last_of(model: nn.Module, kind: type[nn.Module], image: Tensor) -> str | None:
    """The name of the deepest layer of `kind` that computes on `image` (1, C, H, W)."""
    names: list[str] = []

    def note(name: str, module: nn.Module, _inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        if isinstance(module, kind):
            names.append(name)

    visit_layers(model, image, note)
    return names[-1] if names else None
