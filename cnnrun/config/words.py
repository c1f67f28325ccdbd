"""Other tools' names for things: the table in `words.txt`, and the search for the nearest word.

A word is looked up without case, hyphens, underscores and dots, so `Adam-W` is `adamw`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cnnrun.errors import digits

TABLE = Path(__file__).with_name("words.txt")

# Sections whose keys other tools write without a section.
_SECTIONS = ("dataset", "model", "loss", "optimizer", "schedule", "transfer", "task")

# Number of suggested names.
_LISTED = 8


@dataclass(frozen=True)
class Word:
    """The meaning here of another tool's word.

    here: dotted keys or a value, the likeliest first; `.key` is one next to it. same: whether it
    means exactly the same. note: what differs, or what to do instead.
    """

    here: tuple[str, ...]
    same: bool
    note: str

    def of(self, word: str, rest: str = "") -> Word:
        """With the word, and what a pattern's last `*` matched, filled in."""
        here, note = (
            [text.replace("{word}", word).replace("{rest}", rest) for text in texts]
            for texts in (self.here, [self.note])
        )
        return replace(self, here=tuple(here), note=note[0])

    def inside(self, section: str) -> Word:
        """With its `.key`s as written outside `section`."""
        return replace(self, here=tuple(section + h if h[0] == "." else h for h in self.here))

    def beside(self) -> Word | None:
        """The meaning inside another component: keys next to it; elsewhere, it means nothing."""
        here = tuple(h for h in self.here if h[0] == ".")
        return replace(self, here=here) if here or not self.here else None

    def hint(self, given: object, here: str | None = None, at: str = "") -> str:
        """`; did you mean 'x'? (what to know)`, or what to know alone where `at` is the right key.

        here: the one of `self.here` that exists.
        """
        first = here or (self.here[0] if self.here else "")
        first = first.lstrip(".")
        meant = f"; did you mean '{first}'?" if first and first != at else ""
        note = self.note.replace("{value}", str(given))
        return meant + (f" ({note})" if meant and note else f"; {note}" if note else "")


def where_of(path: Sequence[int | str]) -> str:
    """`path` as in the table: without list indices."""
    return ".".join(step for step in path if isinstance(step, str))


def lookup(where: str, word: object) -> Word | None:
    """The table's entry for `word` at `where`, e.g. `key`, `optimizer` or `optimizer=`.

    A value may include its module: `torch.optim.lr_scheduler.StepLR`.
    """
    text = str(word)
    found = exact(where, text) or _like_a_pattern(where, text)
    module, _, last = text.rpartition(".")
    if found is None and module and where.endswith("="):
        return exact(where, last) or _like_a_pattern(where, last)
    return found


def _like_a_pattern(where: str, word: str) -> Word | None:
    for at, pattern, meaning in _table()[1]:
        if at == where and (match := pattern.fullmatch(word)):
            return meaning.of(word, rest=match[match.lastindex or 0])
    return None


def exact(where: str, word: object) -> Word | None:
    """The table's entry for exactly this `word` at `where`, without patterns."""
    return _table()[0].get((where, _plain(str(word))))


def lookup_key(mapping: str, key: object) -> Word | None:
    """The table's entry for an unknown `key` of the mapping at `mapping`; "" is the file."""
    found = lookup(_where(mapping), key) or lookup("key", key)
    return found or (lookup("params", key) or lookup("name", key) if mapping else None)


def lookup_nested_key(where: str, mapping: str, key: object) -> Word | None:
    """The same for a nested component at `where`, whose kind has the words of `mapping`."""
    if own := lookup(where, key):
        return own
    found = [lookup(at, key) for at in (_where(mapping), "params", "name")]
    return next((beside for word in found if word and (beside := word.beside())), None)


def lookup_in_sections(mapping: str, key: object) -> Word | None:
    """The same for tools with one flat list of options: words of sections, at the top or in
    `training`, if only one section has them.
    """
    if mapping not in ("", "training"):
        return None
    found = [word.inside(s) for s in _SECTIONS if (word := lookup(s, key))]
    return found[0] if len(found) == 1 else None


def _where(mapping: str) -> str:
    return {"dataset.augment": "augment", "": "file"}.get(mapping, mapping)


def near_key(mapping: str, key: str) -> Word | None:
    """The table's entry for the word that `key` is a typo of."""
    for where in (_where(mapping), "key"):
        if near := slip_of(key, [plain for at, plain in _table()[0] if at == where]):
            return lookup(where, near)
    return None


def slip_of(word: str, choices: Iterable[str]) -> str | None:
    """The one of `choices` that `word` is a typo of, with the same digits."""
    plain = {_plain(choice): choice for choice in choices}
    wanted = _plain(word)
    for near in difflib.get_close_matches(wanted, plain, n=2, cutoff=0.85):
        if digits(near) == digits(wanted):
            return plain[near]
    return None


def spelled_alike(word: object, choices: Iterable[str]) -> str | None:
    """The one of `choices` that equals `word` except for case, hyphens, underscores and module.

    `torch/nn/MSELoss` is `mse_loss` if there is that, or else `torch/MSELoss`.
    """
    plain = {_plain(choice): choice for choice in choices}
    parts = re.split("[./]", str(word))
    spelled = map(_plain, (str(word), parts[-1], parts[0] + parts[-1]))
    return next((plain[each] for each in spelled if each in plain), None)


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
    if word.startswith("_") and word.endswith("_"):
        return word  # `_target_` is a class to Hydra; `target` is what is learned
    return re.sub(r"[^a-z0-9]", "", word.lower()) or word


@cache
def _table() -> tuple[dict[tuple[str, str], Word], list[tuple[str, re.Pattern[str], Word]]]:
    """By place and word, and the patterns of words."""
    known: dict[tuple[str, str], Word] = {}
    patterns: list[tuple[str, re.Pattern[str], Word]] = []
    for where, words, here, note in rows():
        means = tuple(h.strip() for h in here.removeprefix("=").split(",") if h.strip())
        meaning = Word(means, here.startswith("="), note)
        for word in words:
            if "*" in word:
                pattern = "(.*)".join(map(re.escape, word.split("*")))
                patterns.append((where, re.compile(pattern, re.IGNORECASE | re.DOTALL), meaning))
            else:
                known[where, _plain(word)] = meaning.of(word)
    return known, patterns


def rows() -> list[tuple[str, list[str], str, str]]:
    """The lines of the table: where, the words, their meaning here, a note."""
    found = []
    for line in TABLE.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            where, words, here, note = map(str.strip, f"{line}||".split("|")[:4])
            found.append((where, words.split(", "), here, note))
    return found
