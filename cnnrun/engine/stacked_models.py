"""Copies of one model as a single computation: stacked weights and a vmapped forward pass.

`torch.func` (functional_call and vmap, torch 2.0) runs the same operations for all copies at once,
so that small operations, dominated by launch cost, cost little more than for one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cnnrun.models.dropout import Dropout, mask_like

_DROPOUTS = (Dropout, nn.Dropout, nn.Dropout2d)


class StackedModels:
    """S models of one architecture whose parameters and buffers live in stacked tensors (S, ...).

    Each model still works alone: its tensors are views of the stacked ones.
    """

    def __init__(self, models: Sequence[nn.Module], image: Tensor) -> None:
        """image: (1, C, H, W), to trace the model with."""
        first = models[0]
        # A copy with masks in place of dropout, whose own tensors are never used.
        self.base = copy.deepcopy(first)
        self.dropouts = _given_masks(self.base, image)
        self.base.train()
        # What an optimizer steps, by the parameters' names.
        self.leaves: dict[str, nn.Parameter] = {}
        for name, own in first.named_parameters():
            copies = [model.get_parameter(name) for model in models]
            self.leaves[name] = nn.Parameter(_stacked(copies), requires_grad=own.requires_grad)
        self.buffers = {
            name: _stacked([model.get_buffer(name) for model in models])
            for name, _ in first.named_buffers()
        }

    def forward(self, inputs: Tensor, masks: dict[str, Tensor]) -> Tensor:
        """(S, N, C, H, W), each model its own (N, C, H, W), to (S, N, ...); in training mode.

        masks: see `draw_masks`, stacked. Buffers are updated in place.

        Raises:
            RuntimeError: the model does what `vmap` can't.
        """

        def one(weights: dict[str, Tensor], held: dict[str, Tensor], images: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self.base, (weights, held), (images,))
            return outputs

        weights = {name: _turned(leaf) for name, leaf in self.leaves.items()}
        held = {name: _turned(buffer) for name, buffer in self.buffers.items()} | masks
        outputs: Tensor = vmap(one, randomness="error")(weights, held, inputs)
        return outputs

    def draw_masks(self, count: int) -> dict[str, Tensor]:
        """Dropout's factors for a batch of `count` images, drawn from torch's own stream.

        In the order and, on a CPU, with the bits in which the model alone would draw them.
        """
        return {f"{name}.mask": dropout.draw(count) for name, dropout in self.dropouts.items()}


def slice_of(stacked: Tensor, at: int) -> Tensor:
    """Model number `at`'s slice (...) of a tensor that is stacked like the parameters."""
    return _turned(stacked)[at]


def _stacked(copies: Sequence[Tensor]) -> Tensor:
    """The tensors of all models stacked, the models' own becoming views.

    Matrices are stacked transposed, (S, I, O): so the backward pass gives their gradients, and an
    optimizer's fused kernel takes them, without a copy that would take half of a step's time.
    """
    whole = _turned(torch.stack([tensor.detach() for tensor in copies])).contiguous()
    for at, tensor in enumerate(copies):
        tensor.data = slice_of(whole, at)
    return whole


def _turned(stacked: Tensor) -> Tensor:
    return stacked.transpose(1, 2) if stacked.dim() == 3 else stacked


def _given_masks(model: nn.Module, image: Tensor) -> dict[str, _Masked]:
    """Replace the dropout layers of `model`; returns the new ones by name, in order of use."""
    layers = [(n, m) for n, m in model.named_modules() if type(m) in _DROPOUTS]
    used: dict[str, _Masked] = {}
    for name, layer in layers:
        parent, _, own = name.rpartition(".")
        masked = _Masked(layer)
        masked.register_forward_pre_hook(lambda m, _, name=name: used.setdefault(name, m) and None)
        setattr(model.get_submodule(parent), own, masked if layer.p else nn.Identity())
    model.eval()
    with torch.no_grad():
        model(image)
    return used


class _Masked(nn.Module):
    """Dropout with a given mask; of whole feature maps if it replaces `Dropout2d`."""

    mask: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.p, self.kind = float(layer.p), type(layer)
        self.register_buffer("mask", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            # A tensor with the shape and memory format of one image's, as a template for masks.
            self.like = torch.empty_like(inputs)
            return inputs
        return inputs * self.mask

    def draw(self, count: int) -> Tensor:
        """0 with probability p, else 1 / (1 - p)."""
        if self.kind is Dropout and self.like.device.type == "cpu":
            return mask_like(self.like.expand(count, *self.like.shape[1:]), self.p)
        if self.kind is nn.Dropout2d:
            noise = self.like.new_empty(count, self.like.shape[1], 1, 1)
        else:
            noise = torch.empty_like(self.like.expand(count, *self.like.shape[1:]))
            if self.like.dim() == 4 and not self.like.is_contiguous():
                noise = noise.to(memory_format=torch.channels_last)
        return noise.bernoulli_(1 - self.p).div_(1 - self.p)
