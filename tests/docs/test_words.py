"""The pages speak the field's language: its terms are there, and words of translations are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs_build import DOCS
from tests.conftest import REPOSITORY
from tests.docs.pages import PAGES, name_of

# Searches for these must find a page.
TERMS = (
    *("fine-tune", "overfitting", "early stopping", "hyperparameter", "out of memory"),
    *("class imbalance", "backbone", "mixed precision", "gradient accumulation"),
    *("data augmentation", "validation set", "test set", "random seed", "transfer learning"),
    *("learning rate", "feature map", "pretrained", "underfitting", "confidence interval"),
    *("weight decay", "label smoothing", "batch size", "baseline", "leakage"),
)
# What an engineer would not say aloud, and what is said instead.
DISCOURAGED = {
    r"(?<![<\/])\bpictures?\b": "image (data), plot (drawn)",
    r"\b(tells?|told) (rightly|wrongly)\b": "classified correctly, wrongly",
    r"\btold (as|rightly)\b": "reported as, distinguished",
    r"\bturned (digits|images|shapes)\b": "rotated",
    r"\bgo(es|ing)? on (with|by|in|from)\b": "continue, resume",
    r"\blearnt\b": "learned",
    r"\bof (one's own|yours)\b": "your own",
    r"\bthe very\b": "the same",
    r"\b(line|row|loss|number) an? (epoch|step|sample|image)\b": "per epoch",
    r"\bso many (images|epochs|steps|seeds)\b": "the number of",
    r"\bin vain\b": "without success",
    r"\bbeginnings\b": "initializations",
    r"\bno number\b": "NaN",
    r"\bat hand was\b": "was available",
}
REFERENCE = ("reference", "components")
# Made from texts of the code, which has its own test.
GENERATED = {DOCS / name for name in ("errors.md", "gallery.md", "coming_from.md")}
WRITTEN = [page for page in PAGES if page not in GENERATED and page.parts[-2] not in REFERENCE]


def _prose(page: Path) -> str:
    """A page without blocks of code and code within lines."""
    text = re.sub(r"^( *)```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_no_page_reads_as_translated(page: Path) -> None:
    prose = _prose(page)
    for words, better in DISCOURAGED.items():
        found = re.search(words, " ".join(prose.split()), re.IGNORECASE)
        assert not found, f"{page.name}: '{found[0]}'; say: {better}"


def test_the_terms_of_the_field_are_found() -> None:
    everything = " ".join(" ".join(_prose(page).split()) for page in WRITTEN).lower()
    assert [term for term in TERMS if term not in everything] == []


def test_the_readme_is_no_wall_of_output() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        shown = [line for line in block.splitlines() if not line.startswith(("$ ", "> "))]
        assert len(shown) <= 15
