"""The page for those who know other tools is made from the table that messages are made of."""

from __future__ import annotations

from pathlib import Path

from docs_build.coming_from import answer, page, tools

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_is_current() -> None:
    """`python -m docs_build.coming_from > docs/coming_from.md` writes it."""
    assert (DOCS / "coming_from.md").read_text("utf-8") == page()


def test_each_tool_has_its_words_and_each_word_an_answer() -> None:
    found = dict(tools())
    assert {"timm", "Keras", "Lightning", "Ultralytics", "Hugging Face"} < set(found)
    assert all(len(words) > 25 for words in found.values())
    assert [word for words in found.values() for word in words if answer(word) is None] == []


def test_the_page_is_found() -> None:
    assert "coming_from.md" in (DOCS.parent / "mkdocs.yml").read_text("utf-8")
    assert "coming_from.md" in (DOCS / "index.md").read_text("utf-8")
