"""What other tools call things: the table in `words.txt`, and the search for the nearest word.

A word is looked up without case, hyphens, underscores and dots, so `Adam-W` is `adamw`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("words.txt")

# Of the names that one could have meant, so many are listed.
_LISTED = 8


@dataclass(frozen=True)
class Word:
    """What a word of another tool is here.

    here: dotted keys or a value, the likeliest first; `.key` is beside it. same: whether it means
    the very same. note: what differs, or what to do instead.
    """

    here: tuple[str, ...]
    same: bool
    note: str

    def hint(self, given: object, here: str | None = None, at: str = "") -> str:
        """`; did you mean 'x'? (what to know)`, or what to know alone where `at` is the right key.

        here: the one of `self.here` that there is.
        """
        first = (here or (self.here[0] if self.here else "")).replace("{word}", str(given))
        meant = f"; did you mean '{first.lstrip('.')}'?" if first and first != at else ""
        note = self.note.replace("{value}", str(given))
        return meant + (f" ({note})" if meant and note else f"; {note}" if note else "")


def lookup(where: str, word: object) -> Word | None:
    """What the table says of `word` at `where`, e.g. `key`, `optimizer` or `optimizer=`."""
    known, patterns = _table()
    plain = _plain(str(word))
    if (where, plain) in known:
        return known[where, plain]
    lower = str(word).lower()
    return next((w for at, p, w in patterns if at == where and fnmatchcase(lower, p)), None)


def lookup_key(mapping: str, key: object) -> Word | None:
    """What the table says of an unknown `key` of the mapping at `mapping`; "" is the file."""
    section = "augment" if mapping == "dataset.augment" else mapping
    found = lookup(section, key) or lookup("key", key)
    return found or (lookup("params", key) or lookup("name", key) if mapping else None)


def near_key(mapping: str, key: str) -> Word | None:
    """What the table says of the word that `key` is a slip of."""
    section = "augment" if mapping == "dataset.augment" else mapping
    for where in (section, "key"):
        words = [plain for at, plain in _table()[0] if at == where]
        if near := difflib.get_close_matches(_plain(key), words, n=1, cutoff=0.85):
            return lookup(where, near[0])
    return None


def spelled_alike(word: object, choices: Iterable[str]) -> str | None:
    """The one of `choices` that is `word` but for case, hyphens, underscores and the module."""
    plain = {_plain(choice): choice for choice in choices}
    last = str(word).rpartition(".")[2]
    return plain.get(_plain(str(word))) or plain.get(_plain(last))


def nearest(word: str, choices: Iterable[str]) -> str:
    """The nearest of `choices` as a list for a message; all of them where they are few."""
    names = list(choices)
    if len(names) <= _LISTED:
        return ", ".join(names)
    plain = _plain(word)
    alike = {n: difflib.SequenceMatcher(None, plain, _plain(n)).ratio() for n in names}
    best = sorted(names, key=lambda name: -alike[name])[:_LISTED]
    return f"{', '.join(best)} ... ({len(names)} in all)"


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower()) or word


@cache
def _table() -> tuple[dict[tuple[str, str], Word], list[tuple[str, str, Word]]]:
    """By place and word, and the patterns of words."""
    known: dict[tuple[str, str], Word] = {}
    patterns: list[tuple[str, str, Word]] = []
    for line in TABLE.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        where, words, here, note = map(str.strip, f"{line}||".split("|")[:4])
        means = tuple(h.strip() for h in here.removeprefix("=").split(",") if h.strip())
        for word in map(str.strip, words.split(", ")):
            if "*" in word:
                meaning = Word(means, here.startswith("="), note)
                patterns.append((where, word.lower(), meaning))
            else:
                spelled = tuple(h.replace("{word}", word) for h in means)
                known[where, _plain(word)] = Word(spelled, here.startswith("="), note)
    return known, patterns
