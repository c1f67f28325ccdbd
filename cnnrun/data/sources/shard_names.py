"""The shards that paths, globs, braces and addresses stand for."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import shorten

from cnnrun.errors import UserError
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import MOST_SHARDS

Patterns = str | list[str]


def _matching(pattern: str) -> list[str]:
    """Sorted files; if there are too many, one more than allowed."""
    found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - absolute ones, too
    return sorted(itertools.islice(found, MOST_SHARDS + 1))


def expand(patterns: Patterns) -> list[str]:
    """Paths and addresses, braces and globs expanded, in the order given; each glob's are sorted.

    Raises:
        UserError: a pattern matches nothing or is of another scheme.
    """
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        for address in _braces(pattern if "://" in pattern else str(expanded(pattern))):
            if is_url(address):
                found.append(address)
            elif "://" in address or address.startswith("pipe:"):
                raise UserError(f"{address}: shards are local files or http(s) addresses")
            elif matches := _matching(address):
                found.extend(matches)
            else:
                raise UserError(f"no shard matches {address} (paths are from {Path.cwd()})")
            if len(found) > MOST_SHARDS:
                raise _too_many(pattern)
    return found


def _braces(pattern: str) -> Iterator[str]:
    """`a{0..2}` and `a{x,y}` expanded, as the shell does; leading zeros keep the width."""
    between = re.split(r"\{([^{}]*)\}", pattern)
    if len(between) == 1:
        yield pattern
        return
    words: list[Sequence[str]] = []
    count = 1
    for inside in between[1::2]:
        words.append(_words(inside, pattern))
        count *= len(words[-1])
        if count > MOST_SHARDS:
            raise _too_many(pattern)
    for chosen in itertools.product(*words):
        pairs = zip(chosen, between[2::2], strict=True)
        # Of nested braces the inner ones are expanded first.
        yield from _braces(between[0] + "".join(itertools.chain.from_iterable(pairs)))


def _words(inside: str, pattern: str) -> Sequence[str]:
    """The content of a pair of braces, expanded."""
    limits = re.fullmatch(r"([0-9]{1,18})\.\.([0-9]{1,18})", inside)
    if not limits:
        return inside.split(",")
    first, last = int(limits[1]), int(limits[2])
    if abs(first - last) >= MOST_SHARDS:
        raise _too_many(pattern)
    step = 1 if first <= last else -1
    return [str(i).zfill(len(limits[1])) for i in range(first, last + step, step)]


def _too_many(pattern: str) -> UserError:
    return UserError(f"{shorten(pattern, 80)} stands for over {MOST_SHARDS:,} shards")


def is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))
