"""`docs/coming_from.md`: what other tools' words are here, from the table of the messages.

python -m docs_build.coming_from > docs/coming_from.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cnnrun.config.experiment import experiment_model
from cnnrun.config.places import keys_elsewhere, words_at
from cnnrun.config.synonyms import NAMED_IN
from cnnrun.config.words import Word, lookup, lookup_in_sections, lookup_key, spelled_alike
from docs_build.tables import cell

_HEAD = """\
# Coming from another tool

What you know from PyTorch, timm, Keras, Lightning, Ultralytics, Hugging Face or fastai, and what it
is here. You need not learn it by heart: cnnrun knows these words. Where the meaning is the same
(✓), it accepts the word at the top of the file, in any section or on the command line, and writes
its own word into the run's config. For the rest, the error message says what this page says.

```console
$ cnnrun check digits_cnn max_epochs=5 torch_compile=true lr=0.01
```
"""
# What sections name in most experiments: whose keys a word at the top may be.
_USUAL = {"task": "classify", "dataset": "digits", "model": "cnn", "loss": "cross_entropy"}
_USUAL |= {"initializer": "default", "optimizer": "sgd", "schedule": "constant"}


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for tool, words in tools():
        parts += [f"## {tool}", "", f"| {tool} | | here | what to know |", "|---|---|---|---|"]
        for word in words:
            found = answer(word)
            assert found is not None, word
            parts.append(_row(word, found))
        parts.append("")
    return "\n".join(parts)


def tools() -> Iterator[tuple[str, list[str]]]:
    """Each tool with its words."""
    text = Path(__file__).with_name("tools.txt").read_text("utf-8")
    for block in text.split("\n## ")[1:]:
        tool, _, lines = block.partition("\n")
        yield tool, [word for line in lines.split("\n") for word in line.split(", ") if word]


def answer(word: str) -> Word | None:
    """What `key`, `section.key` or `section=value` is here."""
    where, equals, value = word.partition("=")
    model = experiment_model()
    if equals:
        where = words_at(tuple(where.split(".")), dict(_USUAL), model)
        return lookup(f"{where}=", value) or _named(where, value) or lookup(f"{where}?", value)
    section, _, key = where.rpartition(".")
    # `data` is Lightning's section of the data set.
    section = {"data": "dataset"}.get(section, section)
    here = [(key,)] if key in model.model_fields else keys_elsewhere(key, dict(_USUAL), model)
    found = lookup_key(section, key)
    if found is None and here:
        return Word((".".join(map(str, here[0])),), same=True, note="")
    found = (
        found or lookup_in_sections(section, key) or lookup("name", key) or lookup("params", key)
    )
    return found.inside(section) if found and section else found


def _named(section: str, value: str) -> Word | None:
    names = NAMED_IN[section].names() if section in NAMED_IN else []
    name = spelled_alike(value, names)
    return Word((name,), same=True, note="") if name else None


def _row(word: str, found: Word) -> str:
    section, equals, value = word.partition("=")
    theirs = value if equals else word
    here = found.here[0].strip(".") if found.here else ""
    if equals and here and here.partition(".")[0] not in experiment_model().model_fields:
        here = f"{section}: {here}"
    note = found.note.replace("{value}", "VALUE")
    return " | ".join(
        [f"| `{theirs}`", "✓" if found.same else "", f"`{here}`" if here else "", f"{cell(note)} |"]
    )


if __name__ == "__main__":
    print(page(), end="")
