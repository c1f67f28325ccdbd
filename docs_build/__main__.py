"""Writes the generated pages."""

from docs_build import DOCS, generated_pages

for name, text in generated_pages().items():
    (DOCS / name).write_text(text, encoding="utf-8")
    print(DOCS / name)
