"""A component: a registered factory, and the YAML keys that its signature makes."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, PydanticUserError

from cnnrun.errors import UserCodeError, UserError
from cnnrun.registry.nested import Nested, nested_in
from cnnrun.registry.options import Component, made_model


@dataclass(frozen=True)
class Entry:
    """One registered factory."""

    kind: str
    name: str
    factory: Callable[..., Any]
    base: str
    # Where `register` was called, `file:line`, and by which module.
    place: str
    module: str

    @property
    def is_users(self) -> bool:
        """Whether it is a user's own, or an installed package's."""
        return not self.module.startswith("cnnrun.")

    def mistake(self, text: str) -> UserError:
        """An error about this component; for a user's own, with its place."""
        message = f"the {self.kind} '{self.name}' {text}"
        return UserCodeError(f"{self.place}: {message}") if self.is_users else UserError(message)

    def is_same_as(self, other: Entry) -> bool:
        """Whether `other` is this component in another state: its file or notebook cell run again.

        Cells have no file of their own; what they define is in `__main__`.
        """
        mine, theirs = (
            (e.module, getattr(e.factory, "__qualname__", None), e.place.rpartition(":")[0])
            for e in (self, other)
        )
        return mine == theirs or (mine[:2] == theirs[:2] and self.module == "__main__")

    @cached_property
    def signature(self) -> inspect.Signature:
        if inspect.isclass(self.factory):
            owner = next(c for c in self.factory.__mro__ if "__init__" in vars(c))
            if owner.__module__.startswith("torch."):
                # `nn.Module.__init__(*args, **kwargs)`: a class without a constructor of its own.
                return inspect.Signature()
        return inspect.signature(self.factory, eval_str=True)

    @property
    def is_family(self) -> bool:
        """Whether it serves all names of the form `library/...`."""
        return self.name.endswith("/*")

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the parameters that cnnrun supplies."""
        return self._names(inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that are YAML keys."""
        return self._names(inspect.Parameter.KEYWORD_ONLY)

    def _names(self, kind: Any) -> tuple[str, ...]:
        return tuple(p.name for p in self.signature.parameters.values() if p.kind is kind)

    @cached_property
    def nested(self) -> dict[str, Nested]:
        """The parameters that are components themselves (or lists of them), by name."""
        found = {p: nested_in(self.signature.parameters[p].annotation) for p in self.parameters}
        return {name: nested for name, nested in found.items() if nested is not None}

    def default(self, parameter: str) -> Any:
        """A parameter's default; `inspect.Parameter.empty` where it is required."""
        return self.signature.parameters[parameter].default

    def shared_keys(self) -> type[Component]:
        """The keys that all components of the kind have.

        Built at each call: a plug-in may have added names that these keys refer to.
        """
        found = named(self.base)
        shared: type[Component] = found if isinstance(found, type) else found()
        return shared

    def schema(
        self, shared: type[Component] | None = None, without: tuple[str, ...] = ()
    ) -> type[Component]:
        """The pydantic model of the component's mapping, made once for the same shared keys.

        shared: `shared_keys()`, to spare making them. without: parameters that are left out.
        """
        return self._schema(shared or self.shared_keys(), without)

    @lru_cache(maxsize=512)  # noqa: B019 (entries live as long as the program)
    def _schema(self, base: type[Component], without: tuple[str, ...]) -> type[Component]:
        shadowed = set(self.parameters) & set(base.model_fields)
        if shadowed:
            raise self.mistake(f"has parameters whose names are keys that all have: {shadowed}")
        fields: dict[str, Any] = {"name": (Literal[self.name], self.name)}
        if self.is_family:
            fields["name"] = (Annotated[str, Field(pattern=f"^{re.escape(self.name[:-1])}.")], ...)
        for name in self.parameters:
            if name not in without:
                default = self.default(name)
                value = ... if default is inspect.Parameter.empty else default
                field = Field(value, validate_default=True) if name in self.nested else value
                fields[name] = (self.signature.parameters[name].annotation, field)
        try:
            return made_model(self.name, base, fields)
        except PydanticUserError as error:
            wrong = str(error).partition("\n")[0]
            message = f"has a parameter of a type that YAML can't give: {wrong}"
            raise self.mistake(message) from error

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


def check_signature(entry: Entry) -> None:
    """Refuse a factory whose signature is not a schema: `*args`, `**kwargs`, untyped YAML keys."""
    for parameter in entry.signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"{entry.kind} '{entry.name}': *{parameter.name} can't be a YAML key")
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation is parameter.empty:
            raise ValueError(f"{entry.kind} '{entry.name}': '{parameter.name}' needs a type")


def named(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
