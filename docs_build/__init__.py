"""The part of the documentation that is made from the code: reference pages, figures, plots.

`python -m docs_build` writes pages and the figure of the concepts, `python -m docs_build.images`
trains networks and draws the plots of `docs/images/`. A test keeps the pages up to date. Not part
of the wheel.
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def generated_pages() -> dict[Path, str]:
    """The text of each file that is made from the code, by its path below `docs/`."""
    from docs_build import (
        api_page,
        cli_page,
        components_page,
        concepts,
        config_page,
        gallery_page,
        shipped_page,
    )

    kinds = components_page.pages()
    return {
        Path("reference/config.md"): config_page.page(),
        Path("reference/cli.md"): cli_page.page(),
        Path("reference/api.md"): api_page.page(),
        Path("reference/shipped.md"): shipped_page.page(),
        Path("gallery.md"): gallery_page.page(),
        **{Path("reference/components") / name: text for name, text in kinds.items()},
        **{Path("images") / name: drawing for name, drawing in concepts.figures().items()},
    }
