"""Another library's classes by its own names: `torch/NAdam`, each with keys of its own."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cnnrun.errors import UserError
from cnnrun.registry.entry import Entry, check_signature

# From a member's name to its factory, whose signature is its schema, as usual.
Maker = Callable[[str], Callable[..., Any]]


@dataclass(frozen=True)
class Library:
    """What one library has of one kind of component."""

    name: str
    summary: str
    members: Callable[[], tuple[str, ...]]
    refused: Mapping[str, str]
    maker: Maker
    place: str
    module: str

    def names(self) -> list[str]:
        """Its members as a file names them, sorted."""
        return sorted(f"{self.name}/{member}" for member in self.members())


class Libraries:
    """The libraries of one kind. Each member becomes an `Entry` when it is first used."""

    def __init__(self, kind: str, base: str) -> None:
        self.kind, self._base = kind, base
        self.known: dict[str, Library] = {}
        self.asked_for: dict[str, Entry] = {}

    def register(
        self, name: str, members: Callable[[], tuple[str, ...]], refused: Mapping[str, str]
    ) -> Callable[[Maker], Maker]:
        """Decorator of a function that makes the factory of `name/member` from the member's name.

        members: returns the usable names. refused: the others, with the reason for each.
        """
        caller = sys._getframe(1)
        place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        module = str(caller.f_globals["__name__"])

        def add(maker: Maker) -> Maker:
            summary = (inspect.getdoc(maker) or "").partition("\n")[0]
            self.known[name] = Library(name, summary, members, refused, maker, place, module)
            return maker

        return add

    def names_beside(self, name: Any) -> list[str]:
        """The names of the library that `name` starts with (`torch/`, `torch.`), or none."""
        beginning, *member = re.split(r"[./]", str(name).lower(), maxsplit=1)
        library = self.known.get(beginning) if member else None
        return library.names() if library else []

    def get(self, name: Any) -> Entry | None:
        """The entry of `torch/NAdam`; None if no library has it.

        Raises:
            UserError: a library has it, but it can't be used here; the message says why.
        """
        if not isinstance(name, str):
            return None
        if name in self.asked_for:
            return self.asked_for[name]
        beginning, _, member = name.partition("/")
        library = self.known.get(beginning)
        if library is None:
            return None
        if member not in library.members():
            if refused := _as_spelled(member, library.refused):
                raise UserError(f"{library.name}/{refused} {library.refused[refused]}")
            return None
        made = library.maker(member)
        entry = Entry(self.kind, name, made, self._base, library.place, library.module)
        check_signature(entry)
        self.asked_for[name] = entry
        return entry


def _as_spelled(member: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `member` means but for its case and underscores."""
    wanted = member.lower().replace("_", "")
    return next((name for name in names if name.lower().replace("_", "") == wanted), None)
