"""Every plot can be read: texts fit, names come out in any script."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.plots import style
from cnnrun.plots.drawing import lettering
from cnnrun.plots.drawing.confusion import draw_confusion
from cnnrun.plots.drawing.filters import draw_features, draw_filters
from cnnrun.plots.drawing.images import draw_augmentations, draw_mistakes, draw_pixels, draw_samples
from cnnrun.plots.drawing.scales import name_axis, set_log_scale
from cnnrun.plots.style import Figure, matplotlib
from tests.conftest import slow_ones
from tests.plot_reading import (
    GRAY,
    LONG,
    ODD_NAMES,
    RGB,
    assert_readable,
    counts,
    course,
    curves,
    drawn_texts,
    rendered,
)


def features() -> Figure:
    random = np.random.default_rng(0)
    layers = [("conv1", random.normal(size=(32, 28, 28))), (LONG * 4, np.zeros((5, 1, 1)))]
    return draw_features(layers, RGB[0], "test image 0: cat")


FIGURES: dict[str, Callable[[], Figure]] = {
    "samples": lambda: draw_samples(GRAY, list("012345678901"), "12 images"),
    "samples, odd names": lambda: draw_samples(RGB, ODD_NAMES, "5 images"),
    "samples, long title": lambda: draw_samples(RGB[:1], ["cat"], LONG * 9),
    "samples, none": lambda: draw_samples(RGB[:0], [], "no image"),
    "augmentations": lambda: draw_augmentations(
        RGB[0], RGB, ["flip: yes\nrotation: angle 7.2\n" + LONG] * 5, "5 draws"
    ),
    "mistakes": lambda: draw_mistakes(RGB, [LONG] * 5, ODD_NAMES, ODD_NAMES[::-1], [0.9] * 5),
    "mistakes, none": lambda: draw_mistakes(RGB[:0], [], [], [], []),
    "pixels 8": lambda: draw_pixels((GRAY[0, 0] * 255).astype(np.uint8), "image 0: 0"),
    "pixels 32": lambda: draw_pixels(np.full((32, 32), 255, np.uint8), LONG * 9),
    "pixels 2000": lambda: draw_pixels(np.full((2000, 1500), 200, np.uint8), "photo"),
    "curves, 1 epoch": lambda: curves(1),
    "curves, 300 epochs": lambda: curves(300, list(np.geomspace(1e-1, 1e-6, 300)), title=LONG * 3),
    "curves, late epochs": lambda: curves(3, epochs=[99_998, 99_999, 100_000], best_epoch=99_999),
    "curves, 4 panels": lambda: curves(
        9, list(np.linspace(0.1, 0.009, 9)), series=course(9) | {"top5": course(9)["accuracy"]}
    ),
    "confusion 1": lambda: draw_confusion(np.array([[3]]), ["a"]),
    "confusion 2": lambda: draw_confusion(counts(2), ["cat", "dog"]),
    "confusion 2, long": lambda: draw_confusion(counts(2), [LONG, LONG[::-1]]),
    "confusion 5, odd": lambda: draw_confusion(counts(5), ODD_NAMES),
    "confusion 10": lambda: draw_confusion(counts(10), list("0123456789")),
    "confusion 10, empty row": lambda: draw_confusion(
        counts(10) * (np.arange(10) != 3)[:, None], [f"class number {k}" for k in range(10)]
    ),
    "confusion 20, large": lambda: draw_confusion(
        counts(20) * 1000, [f"{LONG} {k}" for k in range(20)]
    ),
    "confusion 21": lambda: draw_confusion(counts(21), [f"c{k}" for k in range(21)]),
    "confusion 100": lambda: draw_confusion(counts(100), [f"{LONG} {k}" for k in range(100)]),
    "confusion 100, perfect": lambda: draw_confusion(np.eye(100, dtype=int), ["c"] * 100),
    "confusion 1300": lambda: draw_confusion(counts(1300, 2), [f"c{k}" for k in range(1300)]),
    "filters, gray": lambda: draw_filters(np.random.default_rng(0).normal(size=(8, 1, 5, 5)), "c"),
    "filters, RGB": lambda: draw_filters(RGB[:, :, :3, :3] - 0.5, "conv1"),
    "filters, many": lambda: draw_filters(np.ones((96, 16, 3, 3)), LONG * 3),
    "filters, zero": lambda: draw_filters(np.zeros((1, 1, 1, 1)), "c"),
    "features": features,
}


@pytest.mark.parametrize("name", slow_ones(FIGURES, "confusion 1300", "confusion 100"))
def test_every_text_is_large_apart_from_others_and_inside(name: str) -> None:
    assert_readable(FIGURES[name]())


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.integers(30, 300))
def test_shortened_names_fit_on_one_line(name: str, room: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that no font has
        short = lettering.shorten(name, room)
        assert lettering.text_width(short) <= room
    assert "\n" not in short
    assert short == lettering.clean(name) or "…" in short


@pytest.fixture
def private_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The family of a font, installed for one test, whose only letter no other font has."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for x, y in ((0, 0), (0, 800), (800, 800), (800, 0)):
        (pen.lineTo if pen.points else pen.moveTo)((x, y))
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({0x10F123: "square"})
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "square": (900, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Private Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    fonts, manager = matplotlib.font_manager, matplotlib.font_manager.fontManager
    before, installed = list(manager.ttflist), fonts.findSystemFonts()
    file = str(tmp_path / "squares.ttf")
    # Installed after matplotlib listed what there is.
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [*installed, file])
    forget_fonts()
    yield "Private Squares"
    manager.ttflist[:] = before
    forget_fonts()


def forget_fonts() -> None:
    lettering._fonts.cache_clear()
    lettering._new_fonts.cache_clear()
    lettering._families_for.cache_clear()
    lettering.text_width.cache_clear()


def test_a_name_gets_the_installed_font_that_has_its_letters(private_font: str) -> None:
    assert lettering.font_families("\U0010f123 cat") == ("DejaVu Sans", private_font)
    assert lettering.font_families("cat") == ("DejaVu Sans",)
    figure = draw_confusion(np.eye(2, dtype=int), ["\U0010f123" * 3, "b"])
    box = next(box for text, box in drawn_texts(figure) if "\U0010f123" in text.get_text())
    pixels = rendered(figure)
    inside = pixels[len(pixels) - int(box.y1) + 2 : len(pixels) - int(box.y0) - 2]
    dark = (inside[:, int(box.x0) : int(box.x1)] < 60).all(2).mean()
    assert dark > 0.6  # filled squares, not the outline of a missing letter


def test_names_of_layers_are_shortened_at_their_beginning() -> None:
    """Those of one network begin alike, and say at their end which layer they are."""
    names = [f"encoder.maps.extractor.features.{k}.conv" for k in range(12)]
    short = [lettering.shorten(name, 150, keep_end=True) for name in names]
    assert len(set(short)) == 12
    for text, name in zip(short, names, strict=True):
        assert text.startswith("…")
        assert name.endswith(text[1:])
    assert max(map(lettering.text_width, short)) <= 150
    assert lettering.shorten("head", 150, keep_end=True) == "head"
    accent = lettering.shorten("e\u0301" * 60, 150, keep_end=True)
    assert accent[1] == "e", "no accent without its letter"


@pytest.mark.parametrize(
    ("low", "high", "power"),
    [(-1e-5, 4e-6, "⁻⁵"), (0, 7.7e6, "⁶"), (-2e-3, 1e-3, "⁻³"), (-0.3, 0.5, ""), (0, 9999, "")],
)
def test_long_numbers_at_an_axis_become_a_power_of_ten_in_its_name(
    low: float, high: float, power: str
) -> None:
    figure = style.new_figure(300, 300)
    axes = style.new_axes(figure, 60, 20, 200, 200)
    axes.set_xlim(low, high)
    name_axis(axes, "x", "true")
    assert axes.get_xlabel() == (f"true (×10{power})" if power else "true")
    figure.canvas.draw()
    factor = 10.0 ** int(power.translate(str.maketrans("⁻⁵⁶³", "-563")) or 0)
    for place, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert float(text.get_text()) * factor == pytest.approx(place, abs=1e-9 * factor)
        assert len(text.get_text()) <= 5


def test_letters_that_no_font_has_are_drawn_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    style.save(draw_samples(RGB, ODD_NAMES, "\U0010f124"), tmp_path / "s.png")
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]
    lettering.text_width("\U0010f125")
    assert not recwarn.list, "also what is measured before anything is drawn"
    assert lettering.undrawable("a\U0010f124b\U0010f124") == "\U0010f124"
    assert lettering.undrawable("Größe, кошка") == ""


@pytest.mark.slow
@given(
    low=st.floats(1e-12, 1e9, allow_subnormal=False),
    decades=st.floats(0.01, 12),
    which=st.sampled_from(["x", "y"]),
)
@settings(max_examples=40, deadline=None)
def test_logarithmic_axes_have_plain_numbers(
    low: float, decades: float, which: Literal["x", "y"]
) -> None:
    """Two ticks at least, each the number that it says, none a formula."""
    figure = style.new_figure(500, 400)
    axes = style.new_axes(figure, 80, 40, 380, 300)
    high = low * 10**decades
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    set_log_scale(axes, which)
    figure.canvas.draw()
    axis = axes.xaxis if which == "x" else axes.yaxis
    labels = [tick.label1.get_text() for tick in axis.get_major_ticks()]
    inside = [float(text) for text in labels if text and low <= float(text) <= high]
    assert len(inside) >= 2 or decades < 0.05
    assert not any(tick.label1.get_text() for tick in axis.get_minor_ticks())


def test_several_words_are_lines_and_an_ellipsis_says_that_there_are_more() -> None:
    words = [f"label number {k}" for k in range(9)]
    lines = lettering.in_lines(words, 150).split("\n")
    assert len(lines) == 4
    assert " ".join(lines) == ", ".join([*words[:4], "…"])
    assert max(lettering.text_width(line) for line in lines[:3]) <= 150
    assert lettering.in_lines(words[:4], 150) == ",\n".join(words[:4])
    assert lettering.in_lines(["one", "two"], 150) == "one, two"
    assert lettering.in_lines([], 150) == ""
