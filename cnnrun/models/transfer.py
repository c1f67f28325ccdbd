"""Transfer learning: weights from elsewhere, what stays frozen, and a new head.

The textbook's four cases (Karpathy, CS231n) are presets of the fields of `Transfer`:

    small, similar    keep all features frozen, train a new last layer
    small, different  keep only the early features frozen, train a new last layer on them
    large, similar    start from the weights, train all, the old layers at a tenth of the rate
    large, different  start from the weights, train all at the full rate
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cnnrun.errors import UserError, did_you_mean
from cnnrun.models.mlp import Widths, hidden_layers
from cnnrun.registry import Options
from cnnrun.runtime.weights import is_below

Case = Literal["small_similar", "small_different", "large_similar", "large_different"]


class Transfer(Options):
    """What is taken over from a trained network."""

    case: Case | None = None
    # `imagenet` (torchvision/... and timm/... models), a weights file, or a run directory.
    weights: str | None = None
    # `none`, `features` (all but the head), `all`, or a pattern of names, e.g. features.0*
    freeze: str | None = None
    # The last layer that is kept (see `cnnrun describe`); a new head follows it.
    cut: str | None = None
    # Hidden layers of a new head; not given, the model keeps its own, untrained one.
    head: Widths | None = None
    head_pooling: Literal["flatten", "average"] = "flatten"
    # Patterns of names to factors of the learning rate; the first that matches counts.
    lr_multipliers: dict[str, Annotated[float, Field(ge=0)]] = {}
    # Train everything from this epoch on (counted from 1).
    unfreeze_at: Annotated[int, Field(ge=1)] | None = None

    def expanded(self, model: nn.Module) -> Transfer:
        """With the preset's values for what is not written; `model` decides where it is cut."""
        if self.case is None:
            return self
        presets: dict[str, dict[str, Any]] = {
            "small_similar": {"freeze": "features", "head": []},
            "small_different": {"freeze": "features", "head": [], "cut": early_layer(model)},
            "large_similar": {"lr_multipliers": {"features": 0.1}},
            "large_different": {},
        }
        return Transfer(**{**presets[self.case], **self.model_dump(exclude_defaults=True)})

    def in_words(self) -> str:
        values = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{key}: {value}" for key, value in values.items())


def head_name(model: nn.Module) -> str:
    """The last linear layer, which turns features into logits; all before it are features.

    Raises:
        UserError: there is none.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("this model has no linear layer that could be its head")
    last: str = linear[-1]
    return last


def early_layer(model: nn.Module) -> str:
    """The layer after the first third of the features: edges and textures, not yet objects."""
    features = getattr(model, "features", None)
    layers = features if isinstance(features, nn.Module) else model
    children = [name for name, _ in layers.named_children()]
    prefix = "features." if isinstance(features, nn.Module) else ""
    return prefix + children[max(len(children) // 3, 1) - 1]


def restructure(
    model: nn.Module, transfer: Transfer, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """The model, cut and with the new head that `transfer` asks for.

    Raises:
        UserError: there is no layer of the name `cut`.
    """
    if transfer.cut is not None:
        return Cut(truncated(model, transfer.cut), transfer, input_shape, num_classes)
    if transfer.head is not None:
        name = head_name(model)
        shape = head_input(model, name, torch.zeros(1, *input_shape)).shape[1:]
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, new_head(shape, transfer, num_classes))
    return model


class Cut(nn.Module):
    """The first layers of a network and a new head."""

    def __init__(
        self,
        features: nn.Module,
        transfer: Transfer,
        input_shape: tuple[int, ...],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.features = features
        features.eval()
        with torch.no_grad():
            shape = features(torch.zeros(1, *input_shape)).shape[1:]
        features.train()
        self.head = new_head(shape, transfer, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def new_head(shape: torch.Size, transfer: Transfer, num_classes: int) -> nn.Sequential:
    """Fully connected layers on features of `shape` (without the batch)."""
    pool = transfer.head_pooling == "average" and len(shape) == 3
    inputs = shape[0] if pool else shape.numel()
    widths = transfer.head or []
    return nn.Sequential(
        *([nn.AdaptiveAvgPool2d(1)] if pool else []),
        nn.Flatten(),
        *hidden_layers(inputs, widths, "relu", dropout=0.0, batch_norm=False),
        nn.Linear(widths[-1] if widths else inputs, num_classes),
    )


def truncated(model: nn.Module, cut: str) -> nn.Module:
    """What `model` computes up to and including its layer `cut`; parameters keep their names."""
    names = [name for name, _ in model.named_modules() if name]
    if cut not in names:
        raise UserError(f"cut: the model has no layer '{cut}'{did_you_mean(cut, names)}")
    features = getattr(model, "features", None)
    number = cut.removeprefix("features.")
    if isinstance(features, nn.Sequential) and number in dict(features.named_children()):
        return features[: list(dict(features.named_children())).index(number) + 1]
    from torchvision.models.feature_extraction import create_feature_extractor

    return nn.Sequential(create_feature_extractor(model, {cut: "kept"}), _Only("kept"))


class _Only(nn.Module):
    """The one entry of a dict of outputs."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def forward(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs[self.key]


@torch.no_grad()
def head_input(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """What the module `name` is given when `model` (in eval mode) looks at `images`."""
    caught: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(
        lambda _module, inputs: caught.append(inputs[0].detach())
    )
    training = model.training
    try:
        model.eval()(images)
    finally:
        hook.remove()
        model.train(training)
    return caught[0]


def freeze(model: nn.Module, transfer: Transfer) -> list[nn.Module]:
    """Freeze parameters; the layers that are frozen whole, to be kept in eval mode.

    In eval mode batch normalization keeps its statistics, and dropout, which would only blur what
    can't learn, does nothing.

    Raises:
        UserError: a pattern matches nothing.
    """
    if transfer.freeze is None:
        return []
    chosen = selected(model, transfer.freeze, "freeze")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in chosen)
    head = model.get_submodule(head_name(model))
    leaves = [module for module in model.modules() if not list(module.children())]
    if transfer.freeze in ("features", "all"):
        # Layers without parameters (dropout) stand still with the features around them.
        return [module for module in leaves if module is not head]
    return [
        module
        for module in leaves
        if list(module.parameters()) and not any(p.requires_grad for p in module.parameters())
    ]


def selected(model: nn.Module, pattern: str, key: str) -> set[str]:
    """The parameters that `none`, `all`, `features` (all but the head) or a pattern means.

    Raises:
        UserError: the pattern matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    if pattern in ("none", "all"):
        return set(names) if pattern == "all" else set()
    if pattern == "features":
        head = head_name(model)
        return {name for name in names if not is_below(name, head)}
    chosen = {name for name in names if is_below(name, pattern) or fnmatchcase(name, pattern)}
    if not chosen:
        hint = did_you_mean(pattern, [name for name, _ in model.named_modules() if name])
        raise UserError(f"{key}: '{pattern}' matches no parameter{hint}")
    return chosen


def unfreeze(model: nn.Module) -> list[nn.Parameter]:
    """Let everything train; the parameters that did not before."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    return frozen


def parameter_groups(model: nn.Module, transfer: Transfer, lr: float) -> list[dict[str, Any]]:
    """The parameters that train, grouped by their factor of the learning rate.

    Raises:
        UserError: a pattern matches nothing.
    """
    factors: dict[str, float] = {}
    for pattern, factor in transfer.lr_multipliers.items():
        for name in selected(model, pattern, "lr_multipliers"):
            factors.setdefault(name, factor)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(factors.get(name, 1.0), []).append(parameter)
    return [{"params": params, "lr": lr * factor} for factor, params in groups.items()]
