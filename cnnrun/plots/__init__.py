"""Plots. `draw_*` functions take arrays and return a Figure; the `of_*` modules register them.

A new plot is a `draw_...` function and, next to it in an `of_*` module, a function with
`@plots.register("name")` that takes a `Target` and gives the arrays to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from cnnrun.config.document import Document
from cnnrun.config.error_messages import explain
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.plots import (
    of_autoencoder,
    of_data,
    of_invariance,
    of_label_sets,
    of_labels,
    of_log,
    of_masks,
    of_model,
    of_network,
    of_scores,
    of_style,
    of_values,
)
from cnnrun.plots.drawing.lettering import undrawable
from cnnrun.plots.style import Figure, Text, save
from cnnrun.plots.target import Target
from cnnrun.registry import plots
from cnnrun.runtime.console import stage, warn

__all__ = [
    "draw",
    "draw_all",
    "figure_of",
    "of_autoencoder",
    "of_data",
    "of_invariance",
    "of_label_sets",
    "of_labels",
    "of_log",
    "of_masks",
    "of_model",
    "of_network",
    "of_scores",
    "of_style",
    "of_values",
]


def draw(name: str, target: Target, output: Path, parameters: Iterable[str] = ()) -> None:
    """Draw the plot called `name` of `target` into the PNG file `output`.

    parameters: `key=value` texts for the plot's own parameters.

    Raises:
        ConfigError: no such plot or parameter.
        UserError: the target lacks what the plot shows.
    """
    document = Document("command line: -p", {"name": name})
    for text in parameters:
        document.override(text)
    figure = figure_of(name, target, document)
    boxes = undrawable("".join(text.get_text() for text in figure.findobj(Text)))
    if boxes:
        warn(
            f"the plot '{name}': no installed font has {boxes}; they are drawn as boxes. Install a "
            "font that has them, such as Noto Sans"
        )
    save(figure, output)


def draw_all(target: Target, folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Draw every plot that `target` has into `folder`: `confusion.png` and so on.

    Returns: the files, and why which of the other plots was not drawn.
    """
    files, refused = [], {}
    for name in plots.names():
        stage(f"drawing {name}")
        try:
            draw(name, target, folder / f"{name}.png")
            files.append(folder / f"{name}.png")
        except Exception as error:  # a plot that fails costs no other one
            refused[name] = str(error) or type(error).__name__
    return files, refused


def figure_of(name: str, target: Target, document: Document) -> Figure:
    """The plot called `name` of `target`; `document` has its name and parameters.

    Raises:
        ConfigError: no such plot or parameter.
        UserError: the target lacks what the plot shows.
    """
    if name not in plots.names():
        known = plots.names()
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"unknown plot '{name}'{hint}")
    schema = plots.get(name).schema()
    try:
        config = schema.model_validate(document.values)
    except ValidationError as error:
        raise ConfigError(explain(document, error, schema)) from None
    figure: Figure = plots.build(config, target=target)
    return figure
