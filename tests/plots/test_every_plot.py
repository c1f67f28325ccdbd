"""Every plot, of few and of many classes with any names: readable, nothing cut, nothing covered."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnrun.plots import style
from cnnrun.plots.drawing.sheet import Sheet
from cnnrun.plots.style import Figure, Text, new_axes
from cnnrun.registry import plots
from tests.conftest import Command
from tests.plot_reading import assert_readable, drawn_texts
from tests.plots.every_plot import CASES, OF_THE_NETWORK, figures
from tests.small_run import small_run as small_run

# Plots that only runs of this case have.
OWN = {
    "style": {"style"},
    "multilabel": {"label_curves"},
    "regress": {"predicted", "residuals"},
    "segment": {"overlays"},
    "100 odd labels": {"label_curves"},
    "12 long values": {"predicted", "residuals"},
    "30 long masks": {"overlays"},
}
PAPER = style.matplotlib.colors.to_rgb(style.PAPER)


def luminance(colour: object) -> float:
    """Relative luminance (WCAG 2) of a colour."""
    rgb = np.array(style.matplotlib.colors.to_rgb(colour))  # type: ignore[arg-type]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def assert_nothing_is_cut_or_covered(figure: Figure, texts: list[tuple[Text, Any]]) -> None:
    """Axes lie on the plot and apart; what is written on the sheet touches none, and contrasts."""
    width, height = figure.canvas.get_width_height()
    sheet, *others = figure.axes
    boxes = [axes.get_window_extent() for axes in others]
    images = [image.get_window_extent() for image in sheet.images]
    for box in [*boxes, *images]:
        assert -1 <= box.x0 < box.x1 <= width + 1
        assert -1 <= box.y0 < box.y1 <= height + 1
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for legend in [axes.get_legend() for axes in others] + figure.legends:
        if legend:
            box = legend.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= width
            assert 0 <= box.y0 < box.y1 <= height
            assert not any(box.shrunk(0.99, 0.99).overlaps(axes) for axes in boxes)
    for text, box in texts:
        if text.axes is sheet and text.get_text() != "empty":  # that stands where a map would
            assert not any(box.overlaps(other) for other in [*boxes, *images]), text
            light, dark = sorted([luminance(PAPER), luminance(text.get_color())], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, text


def assert_lines_differ(figure: Figure) -> None:
    """What a legend tells apart differs in colour and in line or marker."""
    for axes in figure.axes:
        lines = [line for line in axes.lines if not line.get_label().startswith("_")]
        legend = axes.get_legend()
        assert not legend or len(legend.get_texts()) == len(legend.legend_handles) >= len(lines)
        styles = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines]
        assert len(set(styles)) == len(styles)
        assert len({colour for colour, *_ in styles}) == len(styles)


def assert_axes_are_named(figure: Figure) -> None:
    """Each axis with numbers has a name, its own or that of its neighbour in the row or column.

    A name stands apart from the axes next to it.
    """
    _, *others = figure.axes
    boxes = [axes.get_window_extent() for axes in others]
    for axes, box in zip(others, boxes, strict=True):
        for axis, start, end in ((axes.xaxis, "x0", "x1"), (axes.yaxis, "y0", "y1")):
            same = [
                (other.xaxis if axis is axes.xaxis else other.yaxis).label.get_text()
                for other, place in zip(others, boxes, strict=True)
                if getattr(place, start) == pytest.approx(getattr(box, start), abs=1)
                and getattr(place, end) == pytest.approx(getattr(box, end), abs=1)
            ]
            assert any(same) or not axis.get_ticklabels() or not axes.axison, axes
        name = axes.yaxis.label.get_window_extent() if axes.yaxis.label.get_text() else None
        assert name is None or name.x0 >= 9
        assert name is None or not any(name.padded(3).overlaps(place) for place in boxes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    CASES,
)
def test_every_plot_can_be_read(case: str, tmp_path: Path) -> None:
    target = CASES[case](tmp_path)
    again = set() if case in ("10 odd, RGB", "code of 2, gray") else OF_THE_NETWORK
    drawn = []
    for name, figure in figures(target, again):
        drawn.append(name)
        assert_nothing_is_cut_or_covered(figure, assert_readable(figure))
        assert_lines_differ(figure)
        assert_axes_are_named(figure)
    if case in OWN:
        assert {"curves", "samples", *OWN[case]} <= set(drawn)
    elif not case.startswith("code"):
        assert {"confusion", "mistakes", "calibration", "precision_recall", "roc"} <= set(drawn)
    else:
        assert {"reconstructions", "outliers", "latent", "walks"} <= set(drawn)
        assert not {"confusion", "gradcam", "saliency", "invariance", "roc"} & set(drawn)


def test_what_is_cut_or_covered_is_found() -> None:
    """The checks above, on what they are to find."""

    def check(figure: Figure) -> None:
        assert_nothing_is_cut_or_covered(figure, drawn_texts(figure))

    for x, text, colour in ((30, "over a panel", "black"), (5, "pale", "#999999")):
        sheet = Sheet(400, 300, "t")
        new_axes(sheet.figure, 20, 100, 300, 150)
        check(sheet.figure)
        sheet.write(x, 120 if x > 20 else 290, text, color=colour)
        with pytest.raises(AssertionError, match=text):
            check(sheet.figure)
    for left, width in ((150, 300), (300, 60)):
        sheet = Sheet(400, 300)
        for place in ((20, 100, 200, 150), (left, 120, width, 90)):
            new_axes(sheet.figure, *place)
        if left + width > 400 or left < 220:
            with pytest.raises(AssertionError):
                check(sheet.figure)
        else:
            check(sheet.figure)


def test_axes_without_a_name_are_found() -> None:
    sheet = Sheet(500, 300)
    left, right = (new_axes(sheet.figure, x, 50, 150, 150) for x in (80, 320))
    for axes in (left, right):
        axes.set_xlabel("x (pixels)")
    left.set_ylabel("y")
    drawn_texts(sheet.figure)
    assert_axes_are_named(sheet.figure)
    right.set_xlabel("")
    with pytest.raises(AssertionError):
        assert_axes_are_named(sheet.figure)
    right.set(xlabel="x", ylabel="y")
    right.yaxis.labelpad = 60
    drawn_texts(sheet.figure)
    with pytest.raises(AssertionError):
        assert_axes_are_named(sheet.figure)


@pytest.mark.slow
def test_all_plots_of_a_run_by_one_command(cnnrun: Command, small_run: Path) -> None:
    ended = cnnrun("viz", "all", small_run, "-o", "drawn")
    assert ended.code == 0, ended.err
    files = {Path(line).stem for line in ended.out.split()}
    assert files == {file.stem for file in Path("drawn").iterdir()}
    assert {"confusion", "calibration", "weights"} <= files
    refused = {line.split(": ")[1] for line in ended.err.splitlines() if line.startswith("not d")}
    assert refused == set(plots.names()) - files
    assert "not drawn: latent: " in ended.err
    assert "needs an autoencoder" in ended.err
    several = cnnrun("viz", "all", small_run, "-p", "count=3")
    assert several.code == 2
    assert "parameters belong to one plot" in several.err
    file = cnnrun("viz", "all", small_run, "-o", "all.png")
    assert file.code == 2
    assert "`all` writes into a folder" in file.err


def test_a_run_of_which_nothing_can_be_drawn_says_so(
    cnnrun: Command, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "names", lambda: ["latent"])
    ended = cnnrun("viz", "all", small_run, "-o", "drawn")
    assert ended.code == 1
    assert "not drawn: latent: " in ended.err
    assert "none of the plots could be drawn" in ended.err
