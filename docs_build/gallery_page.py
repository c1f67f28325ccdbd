"""`docs/gallery.md`: an example of every plot, with the command that draws it."""

from __future__ import annotations

from cnnrun.registry import KINDS
from docs_build import DOCS

GALLERY = DOCS / "images" / "gallery"

_HEAD = """\
# Gallery

Every plot that `cnnrun viz` draws. `RUN` is a run directory or a checkpoint; plots of data and of untrained networks
also take a YAML file. `-o FILE` chooses the file, `-p KEY=VALUE` sets a parameter of the plot, and
`cnnrun list plot NAME` shows its parameters.

`cnnrun train` draws the plots of the task at its end; `training.draw=false` leaves them out. `cnnrun compare -o`,
`cnnrun study`, `cnnrun data -o` and `cnnrun describe -o` draw more plots: see
[comparisons](howto/compare.md), [studies](howto/studies.md), [your images](howto/own_images.md) and the
[tutorial](tutorial.md#look-inside-the-network).
"""
# Which plots belong together, in the order of the page.
_GROUPS = {
    "Images": ("samples", "augmentations", "pixels"),
    "Training": ("curves",),
    "Mistakes": (
        "confusion",
        "mistakes",
        "suspects",
        "calibration",
        "precision_recall",
        "roc",
        "invariance",
    ),
    "What the network looks at": ("gradcam", "saliency", "features", "filters"),
    "Weights and activations": ("weights", "activations", "embeddings"),
    "Autoencoders": ("reconstructions", "outliers", "latent", "decoded_grid", "walks"),
    "Label sets, values and masks": ("label_curves", "predicted", "residuals", "overlays"),
    "Style transfer": ("style",),
}


def page() -> str:
    """The whole page, as Markdown; plots that belong to no group come last."""
    names = KINDS["plot"].names()
    known = {name for group in _GROUPS.values() for name in group}
    groups = {**_GROUPS, "More": tuple(name for name in names if name not in known)}
    parts = [_HEAD]
    for title, members in groups.items():
        there = [name for name in members if name in names]
        parts += [f"## {title}", ""] if there else []
        for name in there:
            parts += _plot(name)
    return "\n".join(parts)


def _plot(name: str) -> list[str]:
    summary = KINDS["plot"].get(name).summary
    shown = [f"![{name}: {summary}](images/gallery/{name}.png)", ""]
    command = ["```text", f"cnnrun viz {name} RUN", "```", ""]
    return [f"### {name}", "", summary, "", *command, *shown]
