"""Networks of torchvision and timm: any image size and number of channels, a new head."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from cnnrun.errors import NetworkError, UserError
from cnnrun.models.channels import adapt_channels, note_normalization
from cnnrun.models.zoo_weights import (
    check_torchvision_has,
    moments_of,
    not_fetched,
    patch_size,
    timm_name,
    timm_with,
    torchvision_network,
    torchvision_weights,
)
from cnnrun.registry import models
from cnnrun.runtime.hub import asked_once

Shape = tuple[int, int, int]
DropoutRate = Annotated[float, Field(ge=0, lt=1)] | None

IMAGENET_CHANNELS, IMAGENET_CLASSES = 3, 1000


@models.register("torchvision/*")
def torchvision_model(
    variant: str,
    input_shape: Shape,
    num_classes: int,
    *,
    weights: str | None = None,
    dropout: DropoutRate = None,
) -> nn.Module:
    """Any classification network of torchvision, e.g. torchvision/resnet18.

    The networks take (N, C, H, W) float32 and give logits (N, K). Auxiliary classifiers (googlenet,
    inception_v3) are left out.

    The first convolution is adapted to the channels (see `with_channels`), and the last layer is
    new. `dataset.normalize: auto` uses the values that they were trained with.

    weights: Pretrained weights: `DEFAULT`, or a name such as `IMAGENET1K_V2`, downloaded once.
    dropout: Chance that a feature is set to 0 before the last layer; by default as the network has
        it.

    Raises:
        UserError: no such network or weights, weights that can't be fetched, or images of a size
            that the network can't take.
    """
    import torchvision.models as library

    check_torchvision_has(variant)
    chosen = None if weights is None else torchvision_weights(variant, weights)
    options = _constructor_options(variant, input_shape)
    model: nn.Module
    if chosen is None:
        model = library.get_model(variant, num_classes=num_classes, **options)
    else:
        model = torchvision_network(variant, chosen, options)
        replace_head(model, num_classes)
    if input_shape[0] != IMAGENET_CHANNELS:
        adapt_channels(model, input_shape[0], pretrained=chosen is not None)
    if dropout is not None:
        set_dropout(model, dropout)
    check_size(model, input_shape, f"torchvision/{variant}")
    if chosen is not None:
        note_normalization(model, *moments_of(variant, chosen), input_shape[0])
    return model


@models.register("timm/*")
def timm_model(
    variant: str,
    input_shape: Shape,
    num_classes: int,
    *,
    weights: str | None = None,
    dropout: DropoutRate = None,
) -> nn.Module:
    """Any network of timm, e.g. timm/resnet10t; needs `pip install 'cnnrun[timm]'`.

    The networks take (N, C, H, W) float32 and give logits (N, K).

    `dataset.normalize: auto` uses the values that they were trained with.

    weights: Pretrained weights: `DEFAULT`, or timm's tag such as `a1_in1k`, downloaded once.
    dropout: Chance that a feature is set to 0 before the last layer; by default as the network has
        it.

    Raises:
        UserError: timm is not installed, has no such network or weights, can't fetch them, or the
            network can't take images of that size.
    """
    timm = timm_with(variant)
    name = variant if weights is None else timm_name(variant, weights)
    options: dict[str, Any] = {} if dropout is None else {"drop_rate": dropout}
    known = timm.get_pretrained_cfg(name)
    if known is not None and known.fixed_input_size:
        options["img_size"] = input_shape[1:]
    with asked_once() if weights is not None else nullcontext("") as silent:
        try:
            model: nn.Module = timm.create_model(
                name,
                pretrained=weights is not None,
                num_classes=num_classes,
                in_chans=input_shape[0],
                **options,
            )
        except Exception as error:
            if weights is None:
                raise UserError(
                    f"timm/{variant} can't be built for {_size(input_shape)} images: {error}"
                ) from error
            raise NetworkError(f"timm/{variant}: {not_fetched(error, silent)}") from error
    check_size(model, input_shape, f"timm/{variant}")
    if weights is not None:
        trained_on: Any = model.pretrained_cfg
        note_normalization(model, trained_on["mean"], trained_on["std"], input_shape[0])
    return model


def _constructor_options(variant: str, shape: Shape) -> dict[str, Any]:
    """Arguments of torchvision's constructors besides the number of classes."""
    if variant in ("googlenet", "inception_v3"):
        # The second output in training mode is no logits tensor. `init_weights` is the start that
        # torchvision announces a change of, with a warning, when it is not given.
        return {"aux_logits": False, "init_weights": True}
    if variant == "maxvit_t":
        _check_grid(f"torchvision/{variant}", shape, 224, square=False)
        return {"input_size": shape[1:]}
    if variant.startswith("vit_"):
        _check_grid(f"torchvision/{variant}", shape, patch_size(variant), square=True)
        return {"image_size": shape[1]}
    return {}


def _check_grid(name: str, shape: Shape, cell: int, *, square: bool) -> None:
    """Refuse images that can't be cut into cells of `cell` pixels."""
    height, width = shape[1:]
    if height % cell or width % cell or (square and height != width):
        form = "square images" if square else "images"
        raise UserError(
            f"{name} takes {form} of {cell}, {2 * cell}, {3 * cell} ... pixels, not {_size(shape)} "
            "(dataset.size)"
        )


def replace_head(model: nn.Module, num_classes: int) -> None:
    """Replace the last layer, whatever its name, by a new one with `num_classes` outputs."""
    name, head = _head(model)
    new: nn.Module
    if isinstance(head, nn.Linear):
        new = nn.Linear(head.in_features, num_classes, bias=head.bias is not None)
    else:
        new = nn.Conv2d(head.in_channels, num_classes, kernel_size=1, bias=head.bias is not None)
        model.num_classes = num_classes  # type: ignore[assignment]
    model.set_submodule(name, new)


def _head(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The layer that gives the logits: the last dense one, or a 1 x 1 convolution (squeezenet)."""
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1]


def set_dropout(model: nn.Module, probability: float) -> None:
    """Dropout before the head: existing layers get `probability`, else one is added."""
    name, head = _head(model)
    siblings = model.get_submodule(name.rpartition(".")[0]).children()
    existing = [module for module in siblings if isinstance(module, nn.Dropout)]
    for module in existing:
        module.p = probability
    if not existing:
        model.set_submodule(name, nn.Sequential(nn.Dropout(probability), head))


def check_size(model: nn.Module, shape: Shape, name: str) -> None:
    """Run on one image of `shape`, so that an unsuitable size is reported at once.

    Raises:
        UserError: the network can't take it; the message has the smallest size that it can take.
    """
    problem = _problem(model, shape)
    if problem is None:
        return
    too_small = min(shape[1:])
    enough = 2 * too_small
    while _problem(model, (shape[0], enough, enough)):
        too_small, enough = enough, 2 * enough
        if enough > 1024:
            raise UserError(f"{name} can't take {_size(shape)} images: {problem}") from problem
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if _problem(model, (shape[0], middle, middle)):
            too_small = middle
        else:
            enough = middle
    raise UserError(
        f"{name} takes images of at least {enough} x {enough} pixels, not {_size(shape)} "
        "(dataset.size)"
    ) from problem


@torch.no_grad()
def _problem(model: nn.Module, shape: Shape) -> Exception | None:
    """The error of the network on an image of `shape`, in eval mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        return error
    finally:
        for module, training in modes.items():
            module.training = training
    return None


def _size(shape: Shape) -> str:
    return f"{shape[1]} x {shape[2]}"
