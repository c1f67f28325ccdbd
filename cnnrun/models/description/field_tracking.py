"""Tracks the receptive field of every tensor while a network runs; see `receptive_field`."""

from __future__ import annotations

from typing import Any

from cnnrun.models.description.field_rules import FRESH, RULES
from cnnrun.models.description.receptive_field import (
    Call,
    Field,
    FieldsOfTensors,
    tensors_in,
    union,
)


def follow(fields: FieldsOfTensors, function: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Record in `fields` the field of an operation's result."""
    call = Call(function, args, kwargs, result, fields)
    if not call.tracked or call.packet in FRESH:
        return
    rule = RULES.get(call.packet) or (_pointwise if call.pointwise else None)
    known = rule and all(call.field(tensor) is not None for tensor in call.tracked)
    found = rule(call) if known and rule else None
    for i, output in enumerate(tensors_in([result])):
        fields[output] = found[i] if isinstance(found, list) else found
        if function._schema.is_mutable and output._base is not None:
            # A part of another tensor was written to.
            fields[output._base] = None


def _pointwise(call: Call) -> Field | None:
    return union([call.field(tensor) for tensor in call.tracked])
