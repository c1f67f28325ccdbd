"""`docs/reference/shipped.md`: the experiments, studies and sweeps that come with cnnrun."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import yaml

from docs_build import DOCS
from docs_build.tables import cell

CONFIGS = DOCS.parent / "configs"

_HEAD = """\
# Shipped experiments

These come with cnnrun. Use them by name in any directory: `cnnrun train digits_cnn`. `cnnrun list experiment` lists
them, and `cnnrun list experiment digits_cnn` prints one, so that you can copy it; so do `cnnrun list study` and
`cnnrun list sweep`.

`digits` and `shapes` need no download. MNIST (12 MB) and CIFAR-10 (170 MB) are downloaded on first use.
"""
_KINDS = (
    ("", "Experiments", "Run one with `cnnrun train NAME`."),
    (
        "records",
        "Recipes for high scores",
        "Each says what was checked and what was not. Run one with `cnnrun train NAME`.",
    ),
    (
        "studies",
        "Studies",
        "A study trains several variants over several seeds and compares them. Run one with `cnnrun study NAME`;"
        " see [studies](../howto/studies.md).",
    ),
    (
        "sweeps",
        "Sweeps",
        "A sweep searches hyperparameters. Run one with `cnnrun sweep NAME`; see"
        " [sweeps](../howto/sweeps.md).",
    ),
)


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for folder, title, about in _KINDS:
        files = sorted((CONFIGS / folder).glob("*.yaml"))
        parts += [f"## {title}", "", about, "", "| name | what it is | uses |", "|---|---|---|"]
        parts += [f"| `{file.stem}` | {cell(_comment(file))} | {_uses(file)} |" for file in files]
        parts += [""]
    return "\n".join(parts)


def _comment(file: Path) -> str:
    """The comment that the file starts with, without its commands."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text("utf-8").splitlines())
    return " ".join(" ".join(line[1:] for line in lines if not line.startswith("#  ")).split())


def _uses(file: Path) -> str:
    """Its data set and model; those of its base for a study or sweep."""
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "base" in values:
        return f"`{Path(values['base']).stem}`"
    names = (values[key] for key in ("dataset", "model"))
    return ", ".join(f"`{n if isinstance(n, str) else n['name']}`" for n in names)
