"""Weights under the names of another library: renamed by a map, and a table of what fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from cnnrun.errors import UserError, did_you_mean
from cnnrun.runtime.text_table import columns
from cnnrun.runtime.weights import NOT_NEEDED

Tensors = Mapping[str, Tensor]
# Lines of a table for modules that fit as a whole, and for tensors that do not.
_MOST_PARTS, _MOST_TENSORS = 40, 20


def renamed(weights: Tensors, names: Mapping[str, str | None]) -> dict[str, Tensor]:
    """`weights` under other names.

    names: of tensors or of modules (`layer1.0`, all below included) to what they are called here;
        None leaves them out, and "" removes a module's name. The longest match counts.

    Raises:
        UserError: a name that matches nothing, or two weights with the same name.
    """
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for key, value in weights.items():
        old = next((name for name in _beginnings(key) if name in names), None)
        new: str | None = key
        if old is not None:
            used.add(old)
            place = names[old]
            new = None if place is None else f"{place}{key[len(old) :]}".lstrip(".")
        if new in found:
            raise UserError(f"two weights would be called {new}; one of them was {key}")
        if new is not None:
            found[new] = value
    for name in names:
        if name not in used:
            known = {beginning for key in weights for beginning in _beginnings(key)}
            raise UserError(f"no weights are called '{name}'{did_you_mean(name, known)}")
    return found


def _beginnings(key: str) -> Iterable[str]:
    """The tensor's name and those of the modules around it, the longest first."""
    while key:
        yield key
        key = key.rpartition(".")[0]


def table(own: Tensors, weights: Tensors) -> list[str]:
    """Lines of a table: which modules a file has weights for, and what does not fit.

    own: the network's state dict. weights: the file's, under the names of the network.
    """
    parts: dict[str, list[str]] = {}
    for key in own:
        parts.setdefault(_part(key, 2 if len(own) > _MOST_PARTS else 3), []).append(key)
    rows = []
    for part, keys in parts.items():
        fits = sum(_fits(own[key], weights.get(key)) for key in keys)
        numbers = sum(own[key].numel() for key in keys)
        rows.append([part, f"{numbers:,}", f"{fits} of {len(keys)}"])
    more = [[f"and {len(rows) - _MOST_PARTS} more", "", ""]] if len(rows) > _MOST_PARTS else []
    head = ["part of the network", "numbers", "tensors that fit"]
    lines = columns([head, *rows[:_MOST_PARTS], *more], right=(1, 2), names=(0,))
    wrong = [
        f"  {key}: {_why(own[key], weights.get(key))}"
        for key in own
        if not _fits(own[key], weights.get(key)) and not key.endswith(NOT_NEEDED)
    ]
    unused = [f"  {key} {_shape(weights[key])}" for key in weights if key not in own]
    return [
        *lines,
        *_listed("the network also needs", wrong),
        *_listed("the file also has", unused),
    ]


def _part(key: str, depth: int) -> str:
    return ".".join(key.split(".")[:-1][:depth]) or key


def _fits(own: Tensor, given: Tensor | None) -> bool:
    return given is not None and given.shape == own.shape


def _why(own: Tensor, given: Tensor | None) -> str:
    wanted = _shape(own)
    return wanted if given is None else f"{wanted}, the file has {_shape(given)}"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = len(lines) - _MOST_TENSORS
    return [f"{title}:", *lines[:_MOST_TENSORS], *([f"  and {more} more"] if more > 0 else [])]


def suggested(own: Tensors, weights: Tensors) -> dict[str, str]:
    """A map for `renamed` that would give the modules without weights ones of their shapes.

    Both are matched in order. {} if some module finds none: no map with gaps is suggested.
    """
    lacking = _modules({k: v for k, v in own.items() if not _fits(v, weights.get(k))})
    spare = iter(_modules({k: v for k, v in weights.items() if k not in own}).items())
    names: dict[str, str] = {}
    for module, shapes in lacking.items():
        old = next((name for name, others in spare if others == shapes), None)
        if old is None:
            return {}
        names[old] = module
    return _shorter(names) if names else {}


def _shorter(names: Mapping[str, str]) -> dict[str, str]:
    """The same map in terms of outer modules, where these contain nothing else."""
    found: dict[str, str] = {}
    for old, new in names.items():
        before, after = old.split("."), new.split(".")
        while len(before) > 1 and len(after) > 1 and before[-1] == after[-1]:
            before.pop()
            after.pop()
        found[".".join(before)] = ".".join(after)
    outer = {old: new for old, new in names.items() if _renamed_by(found, old) != new}
    return found | outer


def _renamed_by(names: Mapping[str, str], key: str) -> str:
    old = next((name for name in _beginnings(key) if name in names), "")
    return f"{names[old]}{key[len(old) :]}" if old else key


def _modules(tensors: Tensors) -> dict[str, Any]:
    """The names and shapes of each module's tensors."""
    found: dict[str, Any] = {}
    for key, value in tensors.items():
        module, _, name = key.rpartition(".")
        if not key.endswith(NOT_NEEDED):
            found.setdefault(module, {})[name] = value.shape
    return found
