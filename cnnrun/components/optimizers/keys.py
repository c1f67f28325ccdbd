"""What several optimizers share: YAML keys with their ranges and descriptions, and a refusal."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from cnnrun.errors import UserError

Rate = Annotated[float, Field(gt=0, description="Learning rate, which a schedule multiplies.")]
Epsilon = Annotated[
    float, Field(gt=0, description="Added to the denominator, against division by 0.")
]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Momentum = Annotated[
    Below1, Field(description="Fraction of the last step that the next one keeps, e.g. 0.9.")
]
Beta1 = Annotated[Below1, Field(description="Decay of the running mean of the gradients.")]
Beta2 = Annotated[Below1, Field(description="Decay of the running mean of their squares.")]
WeightDecay = Annotated[
    float, Field(ge=0, description="How strongly weights are drawn to 0 (L2 regularization).")
]


def refuse_several_rates(name: str, parameters: list[Any]) -> None:
    """Refuse parameter groups, for an optimizer that flattens all parameters into one vector.

    Raises:
        UserError: there are several.
    """
    if len(parameters) > 1 and isinstance(parameters[0], dict):
        raise UserError(
            f"{name} has one rate for all parameters, from the start: leave "
            "transfer.lr_multipliers and transfer.unfreeze_at out"
        )
