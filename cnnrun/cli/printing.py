"""How commands print what they found."""

from __future__ import annotations

from typing import Any, Protocol

from cnnrun.runtime import console
from cnnrun.runtime.strict_json import to_json


class Printable(Protocol):
    """What a command found."""

    def to_dict(self) -> dict[str, Any]: ...

    def to_text(self) -> str: ...


def print_found(found: Printable, as_json: bool) -> None:
    """Print it as JSON, or as text that fits the terminal."""
    console.out(to_json(found.to_dict()) if as_json else found.to_text(), fit=not as_json)
