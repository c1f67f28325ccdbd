"""How every plot looks and how it is saved: colours, sizes, and the settings of matplotlib.

A plot is the same on every machine: matplotlib's own defaults and the few settings below apply,
never a `matplotlibrc`, `MPLBACKEND` or display that happens to be there. Figures are made without
`pyplot`, so nothing keeps them alive once they are saved.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from cnnrun.errors import UserError
from cnnrun.runtime.files import write_atomically


@contextmanager
def _environment_ignored() -> Iterator[None]:
    """Hide `MPLBACKEND`, and the complaint that the home directory cannot be written.

    matplotlib raises at import when the variable names no backend that it knows; no backend with
    windows is ever used here, and a temporary folder serves as well for the font cache.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    backend = os.environ.pop("MPLBACKEND", None)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


# The other modules of this package take matplotlib from here, so that it is imported like this.
with _environment_ignored():
    import matplotlib as matplotlib
    import matplotlib.colors
    import matplotlib.font_manager
    import matplotlib.ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_agg import RendererAgg as RendererAgg
    from matplotlib.figure import Figure as Figure
    from matplotlib.text import Text as Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 128
"""Dots per inch of a saved plot. A power of two: whole pixels stay whole as floats in inches."""

MAX_WIDTH = 1280
"""The widest plot in pixels: fits a screen at 100 %."""

MARGIN = 18
"""Empty pixels around a plot."""

TITLE, TEXT, SMALL = 12.0, 9.0, 7.0
"""Font sizes in points: 21, 16 and 12 pixels."""

PAPER, INK, MUTED, FRAME = "#fcfcfb", "#1c1c1c", "#5c5c5c", "#a6a6a6"
"""Opaque near-white under dark text reads the same in a dark and in a light viewer."""

BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
"""Colours for colour-blind readers (Okabe and Ito 2008)."""

RIGHT_TEXT, WRONG_TEXT = "#005A8E", "#A84300"
"""The blue and the vermillion, darkened to 4.5:1 contrast and more as small letters on paper."""

FORMATS = (".png", ".pdf", ".svg")
"""What `save` can write, by the ending of the file's name."""

_SETTINGS: Any = {
    **{k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")},
    "figure.dpi": DPI,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5 bill"
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e0",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "figure.titlesize": TITLE,
    "pdf.fonttype": 42,
}

_Arguments = ParamSpec("_Arguments")


@contextmanager
def boxes_for_letters() -> Iterator[None]:
    """A letter that cannot be written is a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


@contextmanager
def look() -> Iterator[None]:
    """cnnrun's settings."""
    with matplotlib.rc_context(_SETTINGS), boxes_for_letters():
        yield


def styled(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Give the figures that `draw` returns cnnrun's look, whatever the user's own settings."""

    @functools.wraps(draw)
    def styled_draw(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with look():
            return draw(*args, **kwargs)

    return styled_draw


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure of `width` x `height` pixels that no display and no `pyplot` knows of.

    `options` go to `matplotlib.figure.Figure`, e.g. `layout="constrained"`.
    """
    figure = Figure(figsize=(round(width) / DPI, round(height) / DPI), dpi=DPI, **options)
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a rectangle in pixels, counted from the figure's upper left corner."""
    figure_width, figure_height = figure.get_size_inches() * DPI
    return figure.add_axes(
        (
            left / figure_width,
            1 - (top + height) / figure_height,
            width / figure_width,
            height / figure_height,
        )
    )


def save(figure: Figure, path: Path | str) -> Path:
    """Write `figure` to `path` whole or not at all, and return the path.

    The file's ending chooses among `FORMATS`; a name without an ending gets a PNG. Missing folders
    are made. Raises `UserError` for another ending and when the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower() or ".png"
    if ending not in FORMATS:
        raise UserError(f"{path}: plots are written as {', '.join(FORMATS)}, not as '{ending}'")
    drawn = BytesIO()
    with look():
        figure.savefig(drawn, format=ending[1:], dpi=DPI)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"could not write the plot {path}: {error.strerror or error}") from error
    write_atomically(path, lambda stream: stream.write(drawn.getbuffer()))
    return path


def shown_inline(figure: Figure) -> Figure:
    """`figure` with what notebooks ask for a PNG; without `pyplot` nothing else provides it."""

    def png() -> bytes:
        with BytesIO() as stream, look():
            figure.savefig(stream, format="png", dpi=DPI)
            return stream.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure
