"""A network that another component names as one of its keys: an encoder, a judge of style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from torch import nn

from cnnrun.errors import UserError, did_you_mean
from cnnrun.registry import Component, as_mapping, models

Shape = tuple[int, int, int]


def named_network(
    key: str,
    wanted: str | dict[str, Any],
    weights: str | None,
    input_shape: Shape,
    num_classes: int,
    *,
    weights_key: str,
    refused: Sequence[str] = ("image",),
) -> tuple[nn.Module, str]:
    """The named network, and its name.

    key, weights_key: where the network and its weights are named, for messages. wanted: a model's
    name, or a mapping with its parameters. weights: of torchvision or timm. refused: models that
    won't do.

    Raises:
        UserError: no such model, wrong parameters, or weights that it can't have.
    """
    values = as_mapping(wanted)
    name = values.get("name")
    if not isinstance(name, str) or name in refused:
        raise UserError(f"{key}: {name!r} can't be used here; name a model such as cnn")
    schema = models.get(name).schema()
    if "weights" in values:
        raise UserError(f"{key}: its trained weights are named by {weights_key}")
    if weights is not None:
        if "weights" not in schema.model_fields:
            raise UserError(f"weights: only torchvision/... and timm/... {key}s have them")
        values = {**values, "weights": weights}
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{key}: {_first_problem(error.errors(), schema)}") from None
    network: nn.Module = models.build(config, input_shape=input_shape, num_classes=num_classes)
    return network, name


def _first_problem(problems: Sequence[Any], schema: type[Component]) -> str:
    key = str(problems[0]["loc"][-1])
    where = ".".join(map(str, problems[0]["loc"]))
    if problems[0]["type"] == "extra_forbidden":
        return f"{where}: unknown key{did_you_mean(key, schema.model_fields)}"
    return f"{where}: {problems[0]['msg'].lower()}"
