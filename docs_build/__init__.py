"""What of the documentation is made by the code: reference pages and pictures.

`python -m docs_build` writes the pages of `docs/reference/`, `python -m docs_build.pictures` those
of `docs/pictures/`. A test holds the pages up to date. Not part of the wheel.
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def generated_pages() -> dict[Path, str]:
    """The Markdown of each page that is made from the code, by its path below `docs/`."""
    from docs_build import cli_page, components_page, config_page

    return {
        Path("reference/config.md"): config_page.page(),
        Path("reference/components.md"): components_page.page(),
        Path("reference/cli.md"): cli_page.page(),
    }
