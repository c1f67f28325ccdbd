"""The page of documentation that the cases make."""

from __future__ import annotations

from tests.errors import Case
from tests.errors.config import FILE, KEYS
from tests.errors.data import FOLDERS, SOURCES
from tests.errors.many_runs import CLUSTERS, CROSSVAL, SWEEPS
from tests.errors.running import CHECKPOINTS, MODELS, PLOTS, TRAINING
from tests.errors.targets import MASKS, PIXELS, SAMPLING

SECTIONS: dict[str, list[Case]] = {
    "The config file": FILE,
    "Keys, values and the command line": KEYS,
    "Images and splits": FOLDERS,
    "Data sources": SOURCES,
    "Masks and segmentation": MASKS,
    "Pixel values, pages and DICOM": PIXELS,
    "Sampling and augmentation": SAMPLING,
    "Model, loss and optimizer": MODELS,
    "Training and resuming": TRAINING,
    "Checkpoints and weights": CHECKPOINTS,
    "Drawing": PLOTS,
    "Sweeps": SWEEPS,
    "Cross-validation": CROSSVAL,
    "Ray and Slurm": CLUSTERS,
}
_HEAD = """\
# Error messages

What cnnrun prints when something is wrong, what it means, and what to do. Search this page for a
part of your message; `…` stands for what depends on the case.

Most messages start with the place: `file:line:column: key:`, or the override on the command line.
`--debug` adds the traceback. Exit codes: 2 for wrong usage or an invalid config; 130, 143 and 129
for an interrupted run whose state is saved; 1 for everything else. A test provokes every message.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for title, cases in SECTIONS.items():
        rows = [f"| {_code(c.says)} | {_cell(c.means)} | {_cell(c.do)} |" for c in cases]
        table = ["| message | meaning | what to do |", "|---|---|---|", *rows]
        parts.append("\n".join([f"## {title}", "", *table, ""]))
    return "\n".join(parts)


def _cell(text: str) -> str:
    """Text in a table."""
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    """A message in a table, between more backquotes than it holds itself."""
    fence = "`` " if "`" in text else "`"
    return fence + _cell(text) + fence[::-1]
