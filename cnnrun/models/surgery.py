"""A network, cut and with a new head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError, did_you_mean_or_sizes
from cnnrun.models.mlp import hidden_layers
from cnnrun.models.transfer import Transfer


def head_name(model: nn.Module) -> str:
    """The last linear layer (or 1 x 1 convolution), which turns features into logits.

    A model within which another one lies says which it is by `head_layer`.

    Raises:
        UserError: there is none.
    """
    if hasattr(model, "decode"):
        raise UserError(
            "an autoencoder has no head, and so no `features` before it; name its parts instead, "
            "e.g. freeze: encoder"
        )
    if isinstance(said := getattr(model, "head_layer", None), str):
        return said
    layers = list(model.named_modules())
    linear = [name for name, module in layers if isinstance(module, nn.Linear)]
    pointwise = [
        name
        for name, module in layers
        if isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1}
    ]
    if not linear and not pointwise:
        raise UserError("this model has no linear layer that could be its head")
    last: str = (linear or pointwise)[-1]
    return last


def restructure(
    model: nn.Module, transfer: Transfer, input_shape: tuple[int, ...], num_classes: int
) -> tuple[nn.Module, str | None]:
    """The model, cut and with a new head as `transfer` says, and the new head's name.

    Raises:
        UserError: there is no layer `cut`, or the head can't be replaced.
    """
    if transfer.cut is not None:
        features = truncated(model, transfer.cut, torch.zeros(1, *input_shape))
        return Cut(features, transfer, input_shape, num_classes), "head"
    if transfer.head is None:
        return model, None
    name = head_name(model)
    if isinstance(model.get_submodule(name), nn.Conv2d):
        if transfer.head:
            raise UserError(
                f"head: this model ends in a convolution ({name}) that linear layers can't stand "
                "for; leave head out, or cut before it"
            )
        return model, name
    shape = head_input(model, name, torch.zeros(1, *input_shape)).shape[1:]
    model.set_submodule(name, new_head(shape, transfer, num_classes))
    return model, name


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
        shape = evaluated(features, torch.zeros(1, *input_shape)).shape[1:]
        self.head = new_head(shape, transfer, num_classes)
        if isinstance(self.head, nn.Linear):  # the name that a cut model's head always had
            self.head = nn.Sequential(nn.Flatten(), self.head)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def new_head(shape: torch.Size, transfer: Transfer, num_classes: int) -> nn.Module:
    """Fully connected layers on features of `shape` (without the batch).

    A single layer on flat features is a plain one, so that its weights have the names of the
    model's library.
    """
    pool = transfer.head_pooling == "average" and len(shape) > 1
    inputs = (shape[0] if len(shape) == 3 else shape[-1]) if pool else shape.numel()
    widths = transfer.head or []
    last = widths[-1] if widths else inputs
    if not widths and len(shape) == 1:
        return nn.Linear(inputs, num_classes)
    average = nn.AdaptiveAvgPool2d(1) if len(shape) == 3 else TokenAverage()
    return nn.Sequential(
        *([average] if pool else []),
        nn.Flatten(),
        *hidden_layers(inputs, widths, "relu", dropout=0.0, batch_norm=False),
        nn.Linear(last, num_classes),
    )


class TokenAverage(nn.Module):
    """The mean over the tokens of a transformer: (N, L, D) to (N, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def check_layer(model: nn.Module, cut: str) -> None:
    """Refuse a `cut` that is not a layer of `model`.

    Raises:
        UserError: with the nearest name.
    """
    names = [name for name, _ in model.named_modules() if name]
    if cut not in names:
        raise UserError(f"cut: the model has no layer '{cut}'{did_you_mean_or_sizes(cut, names)}")


def truncated(model: nn.Module, cut: str, images: Tensor) -> nn.Module:
    """`model` up to and including its layer `cut`; parameters keep their names.

    images: (N, C, H, W), a valid input.
    """
    check_layer(model, cut)
    features = getattr(model, "features", None)
    number = cut.removeprefix("features.")
    if isinstance(features, nn.Sequential) and number in dict(features.named_children()):
        return features[: list(dict(features.named_children())).index(number) + 1]
    try:
        return nn.Sequential(_traced(model, cut), _Only("kept"))
    except Exception:
        # `forward` may contain any Python code: it runs unchanged, and is stopped at the layer.
        stopped = StoppedAt(model, cut)
        stopped.drop_what_follows(images)
        return stopped


def _traced(model: nn.Module, cut: str) -> nn.Module:
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor: nn.Module = create_feature_extractor(model, {cut: "kept"})
    return extractor


class _Only(nn.Module):
    """The one entry of a dict of outputs."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def forward(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs[self.key]


class _ReachedError(Exception):
    """A forward pass reached its stop; not an error."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


class StoppedAt(nn.Module):
    """A model whose forward pass stops at one of its layers and returns its output."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to the layer's output (N, ...)."""
        return self.run(self.model, self.name, images)

    @staticmethod
    def run(model: nn.Module, name: str, images: Tensor) -> Tensor:
        """The output of layer `name` of `model` for images (N, C, H, W); later layers don't run."""

        def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            raise _ReachedError(output)

        hook = model.get_submodule(name).register_forward_hook(stop)
        try:
            model(images)
        except _ReachedError as reached:
            return reached.value
        finally:
            hook.remove()
        raise UserError(f"cut: the model does not use its layer '{name}'")

    def drop_what_follows(self, images: Tensor) -> None:
        """Remove the layers that are not used before the end, as `images` show."""
        used: set[nn.Module] = set()
        hooks = [
            module.register_forward_pre_hook(lambda module, _inputs: used.add(module))
            for module in self.model.modules()
        ]
        evaluated(self, images)
        for hook in hooks:
            hook.remove()
        # In finished parts, a layer may share its weights without being called.
        around = [self.name[:i] for i, letter in enumerate(self.name) if letter == "."]
        for parent in map(self.model.get_submodule, ["", *around]):
            for name, child in list(parent.named_children()):
                if child in used:
                    continue
                setattr(parent, name, nn.Identity())
                try:
                    evaluated(self, images)
                except Exception:
                    setattr(parent, name, child)  # one that shares its weights


@torch.no_grad()
def evaluated(model: nn.Module, images: Tensor) -> Tensor:
    """The output of `model` in eval mode for `images`; modes are restored."""
    modes = {module: module.training for module in model.modules()}
    try:
        result: Tensor = model.eval()(images)
    finally:
        for module, training in modes.items():
            module.training = training
    return result


class InputsOf(nn.Module):
    """The input of one of a model's layers; nothing is computed after that."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to the layer's input (N, ...)."""

        def stop(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise _ReachedError(inputs[0].detach())

        hook = self.model.get_submodule(self.name).register_forward_pre_hook(stop)
        try:
            self.model(images)
        except _ReachedError as reached:
            return reached.value
        finally:
            hook.remove()
        raise UserError(
            f"the model does not use its layer '{self.name}', which would be its head; cut before "
            "a layer that it uses (transfer.cut)"
        )


def head_input(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """The input of the module `name` when `model` runs on `images` in eval mode."""
    return evaluated(InputsOf(model, name), images)
