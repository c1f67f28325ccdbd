"""Former names of a base class's methods and attributes, which plug-ins may still use."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cnnrun.runtime import console

_said: set[tuple[str, str, str]] = set()


def accept_former(cls: type, present: Mapping[str, str]) -> None:
    """Let `cls` define what `present` names by its former names, the keys; each is said once.

    Either name leads to the same, so `super().former()` and `Base.former` work as well.
    """
    for former, name in present.items():
        old, new = (next((c for c in cls.__mro__ if n in vars(c)), object) for n in (former, name))
        if cls.__mro__.index(old) < cls.__mro__.index(new):
            setattr(cls, name, vars(old)[former])
            _say(cls, former, name)
            new = cls
        setattr(cls, former, vars(new)[name])


def _say(cls: type, former: str, name: str) -> None:
    key = (cls.__module__, cls.__qualname__, former)
    if key not in _said:
        _said.add(key)
        file = getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__
        console.warn(f"{file}: {cls.__name__}.{former} is called {name} now; both are understood")
