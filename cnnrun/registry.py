"""Names to factories: one `Registry` for each kind of component, all listed at the end.

A factory is a class or function. Its signature is the only place where its parameters are written:

* parameters before the `*` are *given* by cnnrun, by name (`input_shape`, `num_classes` ...);
* parameters after the `*` are the component's YAML keys; their annotations and defaults are the
  schema (pydantic), the text of `cnnrun list` and the editor's completion.

    @models.register("tiny")
    class Tiny(nn.Module):
        \"\"\"One line that `cnnrun list` prints.\"\"\"

        def __init__(self, input_shape, num_classes, *, width: int = 8): ...

A registry imports its package at the first look-up, so importing this module costs nothing heavy.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model

from cnnrun.errors import UserError, did_you_mean

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Options(BaseModel):
    """A mapping in the YAML file: unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=()
    )


class Component(Options):
    """A `name` and the parameters of the factory of that name."""

    name: str


@dataclass(frozen=True)
class Entry:
    """One registered factory."""

    kind: str
    name: str
    factory: Callable[..., Any]
    base: str

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
        """Names of the parameters that cnnrun gives."""
        return self._names(inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the YAML file gives."""
        return self._names(inspect.Parameter.KEYWORD_ONLY)

    def _names(self, kind: Any) -> tuple[str, ...]:
        return tuple(p.name for p in self.signature.parameters.values() if p.kind is kind)

    def shared_keys(self) -> type[Component]:
        """The keys that all components of the kind have.

        Made anew at each call: a plug-in may have added names that these keys refer to.
        """
        module, _, attribute = self.base.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        shared: type[Component] = found if isinstance(found, type) else found()
        return shared

    def schema(self, shared: type[Component] | None = None) -> type[Component]:
        """The pydantic model of the component's mapping; `shared` spares making those keys."""
        base = shared or self.shared_keys()
        shadowed = set(self.parameters) & set(base.model_fields)
        if shadowed:
            raise ValueError(f"{self.kind} '{self.name}': {shadowed} are keys that all have")
        fields: dict[str, Any] = {"name": (Literal[self.name], self.name)}
        if self.is_family:
            fields["name"] = (Annotated[str, Field(pattern=f"^{re.escape(self.name[:-1])}.")], ...)
        for name in self.parameters:
            parameter = self.signature.parameters[name]
            required = parameter.default is inspect.Parameter.empty
            fields[name] = (parameter.annotation, ... if required else parameter.default)
        return create_model(self.name, __base__=base, **fields)

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


class Registry:
    """The components of one kind, by name."""

    def __init__(self, kind: str, package: str, base: str = "cnnrun.registry:Component") -> None:
        """`package` is imported at the first look-up.

        `base` is `module:name` of the `Component` (or of a function that makes it) with the keys
        that all components of the kind share.
        """
        self.kind = kind
        self._package = package
        self._base = base
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that makes `factory` known as `name`.

        `library/*` serves every name that begins with `library/`; what follows is given to it as
        `variant`.

        Raises:
            ValueError: the name is taken, or the signature could not serve as a schema.
        """

        def add(factory: Factory) -> Factory:
            if name in self._entries:
                taken = self._entries[name].factory
                raise ValueError(
                    f"{self.kind} '{name}' is already registered by {taken.__module__}"
                )
            entry = Entry(self.kind, name, factory, self._base)
            _check_signature(entry)
            self._entries[name] = entry
            return factory

        return add

    def names(self) -> list[str]:
        importlib.import_module(self._package)
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """The entry called `name`.

        Raises:
            UserError: there is none; the message has the nearest name.
        """
        names = self.names()
        key = self._key(name)
        if key not in self._entries:
            raise UserError(f"unknown {self.kind} '{name}'{did_you_mean(name, names)}")
        return self._entries[key]

    def _key(self, name: Any) -> Any:
        """What `name` is registered as: itself, or its family."""
        if isinstance(name, dict | list):
            return None
        family = f"{str(name).partition('/')[0]}/*"
        return name if name in self._entries else family if "/" in str(name) else name

    def build(self, config: Component, **given: Any) -> Any:
        """Call the factory that `config` names with its parameters and what it asks of `given`."""
        entry = self.get(config.name)
        parameters = {name: getattr(config, name) for name in entry.parameters}
        given["variant"] = config.name.partition("/")[2]
        return entry.factory(**{name: given[name] for name in entry.given}, **parameters)

    def annotation(self) -> Any:
        """The type of a YAML value that is a component: a name, or a mapping with `name`."""
        entries = [self.get(name) for name in self.names()]
        shared = entries[0].shared_keys()
        schemas = [entry.schema(shared) for entry in entries]
        if len(schemas) == 1:
            return Annotated[schemas[0], BeforeValidator(as_mapping)]
        tagged = tuple(Annotated[schema, Tag(schema.__name__)] for schema in schemas)
        # The members are known at run time only.
        union: Any = Union.__getitem__(tagged)
        return Annotated[union, Discriminator(self._tag_of), BeforeValidator(as_mapping)]

    def _tag_of(self, value: Any) -> Any:
        return self._key(
            value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        )


def _check_signature(entry: Entry) -> None:
    """Refuse a factory whose signature is no schema: `*args`, `**kwargs`, untyped YAML keys."""
    for parameter in entry.signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"{entry.kind} '{entry.name}': *{parameter.name} can't be a YAML key")
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation is parameter.empty:
            raise ValueError(f"{entry.kind} '{entry.name}': '{parameter.name}' needs a type")


def as_mapping(value: Any) -> Any:
    """`sgd` is short for `{name: sgd}`."""
    return {"name": value} if isinstance(value, str) else value


tasks = Registry("task", "cnnrun.components.tasks")
datasets = Registry("dataset", "cnnrun.data.sources", "cnnrun.data.options:dataset_options")
augmentations = Registry("augmentation", "cnnrun.data.augmentations")
models = Registry("model", "cnnrun.models")
initializers = Registry("initializer", "cnnrun.components.initializers")
losses = Registry("loss", "cnnrun.components.losses")
optimizers = Registry("optimizer", "cnnrun.components.optimizers")
schedules = Registry(
    "schedule", "cnnrun.components.schedules", "cnnrun.components.schedules:ScheduleOptions"
)
plots = Registry("plot", "cnnrun.plots")
loggers = Registry("logger", "cnnrun.runs.loggers")

KINDS = {
    registry.kind: registry
    for registry in (
        tasks,
        datasets,
        augmentations,
        models,
        initializers,
        losses,
        optimizers,
        schedules,
        plots,
        loggers,
    )
}
