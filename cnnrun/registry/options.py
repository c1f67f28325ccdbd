"""A mapping in the YAML file as a pydantic model."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, create_model, field_validator

_LARGEST = 3.4028234e38


class Options(BaseModel):
    """A mapping in the YAML file: unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    @field_validator("*")
    @classmethod
    def _within_range(cls, value: Any) -> Any:
        """Refuse a number that 32-bit tensors turn into infinity or an error."""
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and abs(number) > _LARGEST:
                raise ValueError(f"{number:g} is beyond what 32 bits hold (up to {_LARGEST:.1e})")
        return value


Model = TypeVar("Model", bound=BaseModel)


class Component(Options):
    """A `name` and the parameters of the factory of that name."""

    name: str


def as_mapping(value: Any) -> Any:
    """`sgd` is short for `{name: sgd}`."""
    return {"name": value} if isinstance(value, str) else value


def made_model(name: str, base: type[Model], fields: dict[str, Any]) -> type[Model]:
    """A model created at run time: pydantic must not search its source for docstrings."""
    no_source = {"use_attribute_docstrings": False}
    return create_model(name, __base__=base, __cls_kwargs__=no_source, **fields)
