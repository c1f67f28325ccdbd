"""A component as the parameter of another: `model.encoder`, `loss.network`, `model.activation`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticKnownError, core_schema

from cnnrun.errors import UserError
from cnnrun.registry.options import Component, as_mapping

if TYPE_CHECKING:
    from cnnrun.registry.kind import Registry

Named = str | dict[str, Any] | Component
"""A nested component as it may be given in Python: a name, a mapping with `name`, or validated."""

NESTED = "cnnrun-component"
"""The key that stands for a nested component in pydantic's JSON schema."""


def _never(_text: str) -> bool:
    return False


@dataclass(frozen=True)
class Nested:
    """Marks a parameter whose value is a component: `Annotated[Component, Nested(models)]`.

    In YAML it is a name or a mapping with `name`, as in a section. The factory gets the validated
    `Component`, which `Registry.build` takes.

    refused: names that won't do, with the reason. without: keys of its own that are not to be given
    there. is_other, others: whether a text names something else, which is passed on unchanged, and
    which such names there are.
    """

    registry: Registry
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)
    without: tuple[str, ...] = ()
    is_other: Callable[[str], bool] = _never
    others: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> Any:
        # A schema is made when a component is named: the kinds may contain one another.
        return core_schema.no_info_before_validator_function(
            self._as_mapping,
            core_schema.no_info_plain_validator_function(self._validated),
            serialization=core_schema.plain_serializer_function_ser_schema(_plain),
        )

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {NESTED: self.registry.kind, "others": bool(self.others)}

    def schema(self, name: Any) -> type[Component] | None:
        """The keys of the component of this name; None if there is none."""
        found = self.registry.find(name)
        return None if found is None else found.schema(without=self.without)

    def names(self) -> list[str]:
        """What can be named."""
        return [*self.others, *(n for n in self.registry.names() if n not in self.refused)]

    def checked(self, value: Any) -> Any:
        """`value` as the factory gets it, for those who call a factory without a config.

        Raises:
            UserError: there is no such component, or it has no such keys.
        """
        if isinstance(value, Component):
            return value
        try:
            return TypeAdapter(Annotated[Any, self]).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = "".join(f"{step}: " for step in first["loc"])
            raise UserError(f"{where}{first['msg'].removeprefix('Value error, ')}") from None

    def normal(self, value: Any) -> Any:
        """`value` as in a run's config: complete; as it is where it is not valid."""
        if isinstance(value, list):
            return [self.normal(item) for item in value]
        try:
            return _plain(self.checked(value))
        except UserError:
            return value

    def _as_mapping(self, value: Any) -> Any:
        return value if isinstance(value, str) and self.is_other(value) else as_mapping(value)

    def _validated(self, value: Any) -> Any:
        if isinstance(value, str | Component):
            return value
        if not isinstance(value, dict):
            raise PydanticKnownError("model_attributes_type")
        if "name" not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
        name = value["name"]
        if isinstance(name, str) and name in self.refused:
            raise ValueError(self.refused[name])
        try:
            schema = self.schema(name)
        except UserError as error:  # a library has it, but it can't be used
            raise ValueError(str(error)) from None
        if schema is None:
            known = ", ".join(f"'{each}'" for each in self.names())
            context = {"discriminator": "'name'", "tag": str(name), "expected_tags": known}
            raise PydanticKnownError("union_tag_invalid", context)
        return schema.model_validate(value)


def nested_in(annotation: Any, metadata: Iterable[Any] = ()) -> Nested | None:
    """The `Nested` in a parameter's type, also as one of several or in a list.

    metadata: of the type's own `Annotated`, where pydantic has taken it apart.
    """
    for found in metadata:
        if isinstance(found, Nested):
            return found
    inner, *own = get_args(annotation) or (None,)
    if getattr(annotation, "__metadata__", None):
        return nested_in(inner, own)
    return next((n for part in get_args(annotation) if (n := nested_in(part))), None)


def _plain(value: Any) -> Any:
    """A nested component for a config: a bare name where it has no keys."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    plain = value.model_dump() if isinstance(value, Component) else value
    return plain["name"] if isinstance(plain, dict) and [*plain] == ["name"] else plain
