"""`training.checkpoint_activations`: a block's outputs are computed again instead of being kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from cnnrun.engine.parts import Parts


def checkpoint_blocks(parts: Parts) -> None:
    """Let the blocks of the model keep their inputs alone, where the experiment asks for it.

    Backward computes a block once more (Chen et al. 2016), with the same random numbers and with
    copies of its statistics: so weights, statistics and losses are, to the bit, those without it.

    Raises:
        ConfigError: the model has no blocks, or something else does not go with it.
    """
    experiment, training = parts.experiment, parts.experiment.training
    if not training.checkpoint_activations:
        return
    place = ("training", "checkpoint_activations")
    for key in ("compile", "sync_batch_norm"):
        if getattr(training, key):
            raise experiment.error(place, f"does not go with training.{key}; leave one of them out")
    blocks = list(_blocks(parts.model))
    if not blocks:
        message = f"{experiment.model.name} has no blocks of layers in a row, as a resnet has"
        raise experiment.error(place, f"{message}; leave it out")
    for block in blocks:
        if not hasattr(type(block), "without_checkpoint"):
            block.__class__ = _checkpointed(type(block))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of each `nn.Sequential` that have layers themselves; stages are looked into."""
    for child in module.children():
        members = list(child.children())
        is_stage = type(child) is nn.Sequential and any(list(m.children()) for m in members)
        if isinstance(module, nn.Sequential) and members and not is_stage:
            yield child
        else:
            yield from _blocks(child)


def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """The same class, whose forward pass keeps nothing but its inputs.

    A class, not a function in the module: a copy of the module then computes with its own weights.
    """
    from torch.utils.checkpoint import checkpoint

    def forward(self: nn.Module, *inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return kind.forward(self, *inputs)

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), _on_copies(self)

        return checkpoint(kind.forward, self, *inputs, use_reentrant=False, context_fn=contexts)

    members = {"forward": forward, "without_checkpoint": kind, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), members)


@contextmanager
def _on_copies(block: nn.Module) -> Iterator[None]:
    """Within it, what is counted or averaged in buffers is lost: it has been counted already."""
    own = [
        (module, name, buffer)
        for module in block.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    for module, name, buffer in own:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in own:
            setattr(module, name, buffer)
