"""Which parts of a model train, from which epoch on and at which rate: decided here alone.

All by name, as wrapping and converting a model replaces its modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from cnnrun.errors import UserError, did_you_mean
from cnnrun.models.surgery import evaluated, head_name
from cnnrun.models.transfer import Transfer
from cnnrun.runtime.weights import is_below


class Trainable:
    """The parameters of a model that train, the modules that stay in eval mode, and the rates."""

    def __init__(
        self,
        model: nn.Module,
        transfer: Transfer | None = None,
        new_head: str | None = None,
        input_shape: tuple[int, ...] = (),
    ) -> None:
        """new_head: the name of a head that `transfer` made; it trains whatever is frozen.

        Raises:
            UserError: a pattern matches nothing, or the new head alone.
        """
        self.model = model
        self._by_itself = {name for name, p in model.named_parameters() if p.requires_grad}
        self._unfreeze_at = transfer.unfreeze_at if transfer else None
        self._factors: dict[str, float] = {}
        self._frozen: set[str] = set()
        self._frozen_first: frozenset[str] = frozenset()
        # Modules that stay in eval mode while parameters are frozen, all below them included.
        self._resting: list[str] = []
        if transfer:
            head = new_head or _old_head(model, transfer)
            for pattern, factor in transfer.lr_multipliers.items():
                for name in selected(model, pattern, "lr_multipliers", head):
                    self._factors.setdefault(name, factor)
            self._freeze(transfer, head, new_head, input_shape)

    def _freeze(
        self,
        transfer: Transfer,
        head: str | None,
        new_head: str | None,
        input_shape: tuple[int, ...],
    ) -> None:
        pattern = transfer.freeze or "none"
        frozen = selected(self.model, pattern, "freeze", head)
        if new_head and pattern != "all":
            frozen = {name for name in frozen if not is_below(name, new_head)}
            if not frozen and pattern != "none":
                raise UserError(f"freeze: '{pattern}' is just the new head, which has to train")
        self._frozen = frozen & self._by_itself
        self._frozen_first = frozenset(self._frozen)
        for name in self._frozen:
            self.model.get_parameter(name).requires_grad_(False)
        if frozen:
            self._resting = list(self._find_resting(frozen, pattern, input_shape))

    def start_epoch(self, epoch: int) -> bool:
        """Set what trains in `epoch` (from 0), and the modes of all modules.

        Frozen batch normalization keeps its statistics, and dropout or dropped blocks, which would
        only add noise to frozen layers, are off.

        Returns: whether more parameters train than before.
        """
        unfreezes = self._unfreeze_at is not None and epoch + 1 >= self._unfreeze_at
        more = [p for name, p in self.model.named_parameters() if name in self._frozen]
        if unfreezes:
            self._frozen, self._resting = set(), []
            for parameter in more:
                parameter.requires_grad_(True)
        self.model.train()
        for name in self._resting:
            self.model.get_submodule(name).eval()
        return unfreezes and bool(more)

    def look_again(self) -> None:
        """The model itself has changed which parameters train, as a growing image does."""
        self._by_itself = {n for n, p in self.model.named_parameters() if p.requires_grad}
        self._by_itself |= self._frozen

    def frozen(self) -> list[str]:
        """The names of the parameters that are frozen and would otherwise train."""
        return [name for name, _ in self.model.named_parameters() if name in self._frozen]

    @property
    def ends_frozen(self) -> bool:
        """Whether anything is frozen to the end."""
        return bool(self._frozen) and self._unfreeze_at is None

    def now(self) -> set[str]:
        """The names of the parameters that train in the current epoch."""
        return {name for name, p in self.model.named_parameters() if p.requires_grad}

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """The parameters that train at any time, by their factor of the learning rate `lr`.

        What is unfrozen later has its own groups, after the others and present from the start, so
        that an optimizer's layout never changes. It leaves out what has no gradient, but can't
        step a group of which a part has no state yet (torch's fused SGD).
        """
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, parameter in self._ever():
            key = (name in self._unfreezing, self._factors.get(name, 1.0))
            groups.setdefault(key, []).append(parameter)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])
        return [{"params": params, "lr": lr * factor} for (_, factor), params in ordered]

    @property
    def one_rate(self) -> bool:
        """Whether all that trains at any time does so from the start, and at one rate."""
        return not self._factors and not self._unfreezing

    @property
    def _unfreezing(self) -> frozenset[str]:
        return self._frozen_first if self._unfreeze_at else frozenset()

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that train at any time."""
        return [parameter for _, parameter in self._ever()]

    def _ever(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in self.model.named_parameters():
            if name in self._by_itself and (self._unfreeze_at or name not in self._frozen_first):
                yield name, parameter

    def _find_resting(
        self, frozen: set[str], pattern: str, input_shape: tuple[int, ...]
    ) -> Iterator[str]:
        """The outermost modules that stay in eval mode: all their parameters are frozen.

        Modules without parameters (dropout, batch normalization without a scale) do so before the
        end of the frozen first layers. After that they belong to what trains: dropout before a head
        is the head's. Statistics are also frozen where a pattern names them.
        """
        trains = self._by_itself - frozen
        held = dict.fromkeys(_between_frozen(self.model, trains, input_shape))
        by_name = pattern not in ("none", "all", "features")
        found: list[str] = []
        for name, module in self.model.named_modules():
            if not name or any(is_below(name, outer) for outer in found):
                continue
            own = [f"{name}.{key}" for key, _ in module.named_parameters()]
            if own:
                rests = not any(key in trains for key in own) and any(key in frozen for key in own)
            else:
                named = by_name and any(True for _ in module.buffers())
                rests = name in held or (named and _is_named(name, pattern))
            if rests:
                found.append(name)
        yield from found


def _between_frozen(model: nn.Module, trains: set[str], input_shape: tuple[int, ...]) -> list[str]:
    """The modules up to the last layer with a state before the first that trains, in order."""
    calls: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: calls.append(name)

    hooks = [
        module.register_forward_pre_hook(note(name))
        for name, module in model.named_modules()
        if _has_state(module) or not list(module.children())
    ]
    try:
        evaluated(model, torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    modules = dict(model.named_modules())
    first: list[str] = []
    for name in calls:
        own = [key for key, _ in modules[name].named_parameters(recurse=False)]
        if any(f"{name}.{key}".lstrip(".") in trains for key in own):
            break
        first.append(name)
    while first and not _has_state(modules[first[-1]]):
        first.pop()
    return first


def _has_state(module: nn.Module) -> bool:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(own)


def _old_head(model: nn.Module, transfer: Transfer) -> str | None:
    """The model's own head, if `transfer` mentions features."""
    speaks = {transfer.freeze, *transfer.lr_multipliers} & {"features"}
    return head_name(model) if speaks else None


def selected(model: nn.Module, pattern: str, key: str, head: str | None) -> set[str]:
    """The parameters that `none`, `all`, `features` (all but the head) or a pattern means.

    Raises:
        UserError: the pattern matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    if pattern in ("none", "all"):
        return set(names) if pattern == "all" else set()
    if pattern == "features":
        return {name for name in names if not is_below(name, head or head_name(model))}
    chosen = {name for name in names if _is_named(name, pattern)}
    if not chosen:
        hint = did_you_mean(pattern, [name for name, _ in model.named_modules() if name])
        also = hint or "; `features` is all but the head"
        raise UserError(f"{key}: '{pattern}' matches no parameter{also}")
    return chosen


def _is_named(name: str, pattern: str) -> bool:
    return is_below(name, pattern) or fnmatchcase(name, pattern)
