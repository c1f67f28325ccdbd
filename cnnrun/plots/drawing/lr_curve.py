"""The curve of a learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence

from cnnrun.plots.drawing.lettering import set_fonts
from cnnrun.plots.drawing.scales import set_log_scale
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import BLUE, INK, MARGIN, MUTED, VERMILLION, Figure, new_axes, styled

_WIDTH, _HEIGHT, _LEFT, _BELOW = 760, 420, 84, 120


@styled
def draw_lr_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    marks: Sequence[tuple[str, float]],
    title: str,
) -> Figure:
    """Loss over learning rate (logarithmic), as it was and smoothed.

    marks: names and rates to be marked by vertical lines.
    """
    sheet = Sheet(_LEFT + _WIDTH + MARGIN, HEADER + _HEIGHT + _BELOW, title)
    axes = new_axes(sheet.figure, _LEFT, HEADER, _WIDTH, _HEIGHT)
    axes.plot(rates, losses, color=MUTED, linewidth=0.8, label="loss of each step")
    axes.plot(rates, smooth, color=BLUE, linewidth=2, label="smoothed")
    for (name, rate), (colour, line) in zip(marks, ((VERMILLION, "--"), (INK, ":")), strict=False):
        label = f"{name}: {rate:.2g}"
        axes.axvline(rate, color=colour, linestyle=line, linewidth=1.5, label=label)
    set_log_scale(axes, "x")
    low, high = min(smooth), max(smooth[: max(len(smooth) // 2, 1)])
    room = max(high - low, 1e-6)
    axes.set_ylim(low - 0.15 * room, high + 0.5 * room)
    axes.set(xlabel="learning rate", ylabel="loss")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
    set_fonts(sheet.figure)
    return sheet.figure
