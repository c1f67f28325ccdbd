"""The components of one kind, by name."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, TypeVar, Union

from pydantic import BeforeValidator, Discriminator, Tag

from cnnrun.errors import UserError, did_you_mean, in_user_code
from cnnrun.registry.entry import Entry, check_signature, named
from cnnrun.registry.library import Libraries
from cnnrun.registry.options import Component, as_mapping

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry:
    """The components of one kind, by name."""

    def __init__(
        self,
        kind: str,
        package: str,
        base: str = "cnnrun.registry:Component",
        *,
        product: str = "",
        words: str = "",
    ) -> None:
        """`package` is imported at the first look-up.

        `base` is `module:name` of the `Component` (or of a function that makes it) with the keys
        that all components of the kind share. `product` is `module:name` of what a factory must
        give, and `words` says it.
        """
        self.kind = kind
        self._package = package
        self._base = base
        self._product, self._words = product, words
        self._entries: dict[str, Entry] = {}
        self._libraries = Libraries(kind, base)

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that makes `factory` known as `name`.

        `family/*` serves every name that starts with `family/`; the rest is passed as `variant`,
        and all have the same keys (see `libraries` for those that have not). A notebook cell or a
        file that is run again replaces what it registered before.

        Raises:
            ValueError: the name is taken, or the signature could not serve as a schema.
        """
        caller = sys._getframe(1)
        place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        module = str(caller.f_globals["__name__"])

        def add(factory: Factory) -> Factory:
            entry = Entry(self.kind, name, factory, self._base, place, module)
            taken = self._entries.get(name)
            if taken and not entry.is_same_as(taken):
                raise ValueError(
                    f"{self.kind} '{name}' is already registered by {taken.module} ({taken.place})"
                )
            check_signature(entry)
            self._entries[name] = entry
            return factory

        return add

    @property
    def libraries(self) -> Libraries:
        """Other libraries' classes by their own names, in addition to `names`."""
        importlib.import_module(self._package)
        return self._libraries

    def names(self) -> list[str]:
        importlib.import_module(self._package)
        return sorted(self._entries)

    def entries(self) -> tuple[Entry, ...]:
        """All that is registered now, by name."""
        return tuple(self._entries[name] for name in self.names())

    def forget(self, file: str) -> None:
        """Take out what `file` has registered, before it is run again."""
        for name, entry in list(self._entries.items()):
            if entry.place.rpartition(":")[0] == file:
                del self._entries[name]

    def get(self, name: str) -> Entry:
        """The entry called `name`.

        Raises:
            UserError: there is none, and the message has the nearest name; or it is a library's
                that can't be used here, and the message says why.
        """
        found = self.find(name)
        if found is None:
            names = self._libraries.names_beside(name) or self.names()
            raise UserError(f"unknown {self.kind} '{name}'{did_you_mean(name, names)}")
        return found

    def find(self, name: Any) -> Entry | None:
        """As `get`; None if there is none.

        Raises:
            UserError: it is a library's that can't be used here.
        """
        importlib.import_module(self._package)
        return self._entries.get(self._key(name)) or self._libraries.get(name)

    def _key(self, name: Any) -> Any:
        """What `name` is registered as: itself, or its family."""
        if isinstance(name, dict | list):
            return None
        if name in self._libraries.asked_for:
            return name
        family = f"{str(name).partition('/')[0]}/*"
        return name if name in self._entries else family if "/" in str(name) else name

    def build(self, config: Component, **given: Any) -> Any:
        """Call the factory that `config` names with its parameters and what it asks of `given`.

        Raises:
            UserCodeError: a user's factory asks for what there is not, or gives something else than
                such a component is.
        """
        entry = self.get(config.name)
        parameters = {name: getattr(config, name) for name in entry.parameters}
        if entry.is_family:
            given["variant"] = config.name.partition("/")[2]
        if not entry.is_users:
            return entry.factory(**{name: given[name] for name in entry.given}, **parameters)
        for name in entry.given:
            if name not in given:
                raise entry.mistake(
                    f"has the parameter '{name}' before the `*`, where cnnrun gives "
                    f"{', '.join(given) or 'nothing'}; write it after a `*`, with a type, to make "
                    f"it a YAML key. {self._words}"
                )
        try:
            made = entry.factory(**{name: given[name] for name in entry.given}, **parameters)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if in_user_code(error):
                raise
            raise entry.mistake(f"can't be made: {type(error).__name__}: {error}") from error
        if self._product and not isinstance(made, named(self._product)):
            raise entry.mistake(f"gives {_what(made)}. {self._words}")
        return made

    def annotation(self) -> Any:
        """The type of a YAML value that is a component: a name, or a mapping with `name`.

        Cached for the same components and keys: another kind's plug-in changes nothing here.
        """
        entries = (*self.entries(), *self._libraries.asked_for.values())
        return self._annotation(entries, entries[0].shared_keys())

    @lru_cache(maxsize=32)  # noqa: B019 (registries live as long as the program)
    def _annotation(self, entries: tuple[Entry, ...], shared: type[Component]) -> Any:
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


def _what(value: Any) -> str:
    """A value as text, for a message: `the class Adam`, `a float`, `None`."""
    if value is None:
        return "None; is a `return` missing?"
    if inspect.isclass(value):
        return f"the class {value.__name__}, not an instance of it"
    return f"a {type(value).__name__} (of {type(value).__module__})"
