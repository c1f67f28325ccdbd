"""Axes with plain numbers at their ticks: logarithmic ones, and those of any values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from cnnrun.plots.style import matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def name_axis(axes: Axes, which: Literal["x", "y"], name: str) -> None:
    """Name a linear axis, its numbers short; call it when the limits are set.

    Where they would be long, the name has a power of ten: `true (×10⁻⁵)`.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    largest = max(map(abs, axes.get_xlim() if which == "x" else axes.get_ylim()))
    power = math.floor(math.log10(largest)) if largest else 0
    power = 0 if -2 <= power <= 3 else power
    axis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    write = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value / 10**power:.4g}")
    axis.set_major_formatter(write)
    axis.set_label_text(f"{name} (×10{str(power).translate(_RAISED)})" if power else name)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def set_log_scale(
    axes: Axes, which: Literal["x", "y"], write: Callable[[float], str] = "{:g}".format
) -> None:
    """Make an axis logarithmic, its ticks written by `write`; call it when the limits are set.

    Ticks stand at powers of ten; over less than three decades at 2 and 5 times these, too, and
    within a small part of one where they are round. matplotlib's own labels would be formulas.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    decades = np.log10(high / low)
    ticker = matplotlib.ticker
    if decades < 0.7:  # 1, 2, 5 would leave one tick or none
        axis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    else:
        subs = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
        axis.set_major_locator(ticker.LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_formatter(ticker.NullFormatter())
