"""A network that another component names as one of its keys: an encoder, a judge of style."""

from __future__ import annotations

from torch import nn

from cnnrun.errors import UserError
from cnnrun.registry import Named, Nested, models

Shape = tuple[int, int, int]


def named_network(
    key: str,
    wanted: Named,
    weights: str | None,
    input_shape: Shape,
    num_classes: int,
    nested: Nested,
) -> tuple[nn.Module, str]:
    """The named network, and its name.

    key: where it is named, for messages. weights: of torchvision or timm; the network's own key for
    them is not given (`nested.without`).

    Raises:
        UserError: no such model, wrong parameters, or weights that it can't have.
    """
    try:
        config = nested.checked(wanted)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    entry = models.get(config.name)
    values = config.model_dump()
    if weights is not None:
        if "weights" not in entry.parameters:
            raise UserError(f"weights: only torchvision/... and timm/... {key}s have them")
        values["weights"] = weights
    complete = entry.schema().model_validate(values)
    network: nn.Module = models.build(complete, input_shape=input_shape, num_classes=num_classes)
    return network, config.name
