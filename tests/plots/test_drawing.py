"""What the plots show: images, curves, filters and feature maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnrun.data.targets import IGNORED
from cnnrun.plots import style
from cnnrun.plots.drawing.curves import draw_curves
from cnnrun.plots.drawing.filters import draw_features, draw_filters
from cnnrun.plots.drawing.images import draw_augmentations, draw_mistakes, draw_pixels, draw_samples
from cnnrun.plots.drawing.overlays import draw_overlays
from cnnrun.plots.style import Figure, matplotlib
from tests.plot_reading import (
    DIGITS,
    GRAY,
    LONG,
    RGB,
    course,
    curves,
    drawn_texts,
    enlarged,
    images_of,
    luminance,
    rendered,
    share_of,
    words,
)


def test_masks_lie_over_a_gray_image_in_the_colours_of_the_legend() -> None:
    """A class is told by its colour alone, whatever the image's colours are."""
    true = np.zeros((1, 32, 32), dtype=np.int64)
    true[:, :8], true[:, 8:16] = 1, IGNORED
    figure = draw_overlays(RGB[:1], true, 0 * true, ["none", "cat"], ["50 %"], "t")
    image, shown, empty, _, cat, unlabeled = (v.astype(int) for v in images_of(figure))
    assert np.ptp(image, axis=2).max() > 50
    assert np.ptp(empty, axis=2).max() <= 1, "gray where there is no class"
    band = len(shown) // 4
    assert np.abs(shown[:band].mean((0, 1)) - cat.mean((0, 1))).max() < 50
    assert shown[band : 2 * band].max() < 60
    assert unlabeled.max() == 0
    assert words(figure)[-3:] == ["none", "cat", "unlabeled"]
    known = draw_overlays(RGB[:1], 0 * true, 0 * true, ["none", "cat"], ["50 %"], "t")
    assert "unlabeled" not in words(known)


def test_gray_samples_are_drawn_pixel_for_pixel_and_never_stretched() -> None:
    dim = 0.25 + GRAY / 4
    drawn = images_of(draw_samples(dim, [""] * len(dim), ""))
    assert len(drawn) == len(dim)
    for drawn_image, image in zip(drawn, dim, strict=True):
        np.testing.assert_allclose(drawn_image, enlarged(image, 16), atol=1)


def test_rgb_samples_keep_their_colours() -> None:
    for drawn_image, image in zip(images_of(draw_samples(RGB, ["x"] * 5, "t")), RGB, strict=True):
        np.testing.assert_allclose(drawn_image, enlarged(image, 4), atol=1)


def test_large_images_are_averaged_not_thinned() -> None:
    """A checkerboard of single pixels turns gray; taking every second one would give black."""
    board = (np.indices((512, 512)).sum(0) % 2).astype(np.float32)[None, None]
    (drawn,) = images_of(draw_samples(board, ["board"], "t"))
    assert abs(drawn[8:-8, 8:-8].astype(int) - 128).max() < 30


def test_each_sample_has_its_name_above_it() -> None:
    names = list("abcdefghijkl")
    figure = draw_samples(GRAY, names, "twelve digits")
    boxes = {text.get_text(): box for text, box in drawn_texts(figure)}
    assert set(boxes) == {*names, "twelve digits"}
    for name, image in zip(names, figure.axes[0].images[1::2], strict=True):
        place = image.get_window_extent()
        assert abs((boxes[name].x0 + boxes[name].x1) / 2 - (place.x0 + place.x1) / 2) < 2
        assert 0 < boxes[name].y0 - place.y1 < 20


def test_long_names_keep_their_beginning_and_end() -> None:
    figure = draw_samples(RGB[:2], [LONG + " 1", LONG + " 2"], "t")
    first, second = words(figure)[-2:]
    assert first.startswith("African hunting")
    assert "…" in first
    assert first.endswith("1")
    assert second.endswith("2")


def test_augmentations_begin_with_the_original_and_name_the_parameters() -> None:
    captions = [f"rotation: angle {k}\nflip: yes" for k in range(4)]
    figure = draw_augmentations(RGB[0], RGB[1:], captions, "4 draws")
    for drawn_image, image in zip(images_of(figure), RGB, strict=True):
        np.testing.assert_allclose(drawn_image, enlarged(image, 4), atol=1)
    shown = words(figure)
    assert shown[:2] == ["4 draws", "original"]
    assert [w for w in shown if w.startswith("draw")] == [f"draw {k}" for k in range(1, 5)]
    assert [w for w in shown if "angle" in w] == [f"rotation: angle {k}" for k in range(4)]
    assert shown.count("flip: yes") == 4


def test_mistakes_tell_true_from_predicted_by_word_and_by_colour() -> None:
    figure = draw_mistakes(
        GRAY[:2], ["a.png", "image 7"], ["cat", "dog"], ["dog", "cat"], [0.987, 0.5], "2 of 9"
    )
    colours = {text.get_text(): text.get_color() for text, _ in drawn_texts(figure)}
    assert list(colours) == [
        "2 of 9",
        "true: cat",
        "predicted: dog",
        "99 % sure",
        "a.png",
        "true: dog",
        "predicted: cat",
        "50 % sure",
        "image 7",
    ]
    assert colours["true: cat"] == style.RIGHT_TEXT != colours["predicted: dog"]
    assert colours["predicted: dog"] == colours["predicted: cat"] == style.WRONG_TEXT


def test_no_mistakes_is_said() -> None:
    assert any("No mistakes" in w for w in words(draw_mistakes(GRAY[:0], [], [], [], [])))


def test_pixel_values_stand_in_their_cells() -> None:
    image = (DIGITS.images[3] * 255 / 16).astype(np.uint8)
    figure = draw_pixels(image, "a three")
    axes = figure.axes[1]
    written = {text.get_position(): text for text in axes.texts}
    for (row, column), value in np.ndenumerate(image):
        assert written[column, row].get_text() == str(value)
    np.testing.assert_array_equal(axes.images[0].get_array(), image)
    assert axes.images[0].get_clim() == (0, 255)
    assert [t.get_text() for t in axes.get_xticklabels()] == [str(k) for k in range(8)]


def test_pixel_values_contrast_with_their_cells() -> None:
    """At least 4.5:1, as the Web Content Accessibility Guidelines ask of small letters."""
    figure = draw_pixels(np.arange(256, dtype=np.uint8).reshape(16, 16), "all values")
    for text in figure.axes[1].texts:
        letter = 1.0 if text.get_color() == "white" else 0.0
        dark, bright = sorted((letter, luminance(int(text.get_text()) / 255)))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("colour", [style.INK, style.MUTED, style.RIGHT_TEXT, style.WRONG_TEXT])
def test_letters_contrast_with_the_paper(colour: str) -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    paper, letter = (
        weights @ [luminance(v) for v in matplotlib.colors.to_rgb(c)] for c in (style.PAPER, colour)
    )
    assert (paper + 0.05) / (letter + 0.05) >= 4.5


@pytest.mark.slow
def test_of_a_large_image_the_centre_is_shown_and_named() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    figure = draw_pixels(image, "photo")
    axes = figure.axes[1]
    np.testing.assert_array_equal(axes.images[0].get_array(), image[4:36, 9:41])
    assert "photo (centre 32 x 32 of 40 x 50)" in words(figure)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[9, 4] == str(image[4, 9])
    assert axes.get_yticklabels()[0].get_text() == "4"


def panels(figure: Figure) -> dict[str, Any]:
    return {axes.get_ylabel(): axes for axes in figure.axes[1:]}


def test_curves_show_the_values_in_percent_with_fixed_colours() -> None:
    series = course(5)
    found = panels(curves(5))
    assert list(found) == ["loss", "accuracy (%)", "learning rate"]
    train, validation = found["accuracy (%)"].lines[:2]
    np.testing.assert_allclose(train.get_ydata(), 100 * np.array(series["accuracy"]["train"]))
    np.testing.assert_allclose(
        found["loss"].lines[1].get_ydata(), series["loss"]["validation"], rtol=1e-12
    )
    assert (train.get_color(), train.get_linestyle()) == (style.BLUE, "-")
    assert (validation.get_color(), validation.get_linestyle()) == (style.VERMILLION, "--")
    assert {axes.get_xlabel() for axes in found.values()} == {"epoch"}


def test_colours_stay_when_a_split_is_missing() -> None:
    figure = curves(2, series={"loss": {"validation": [1.0, 2.0]}}, best_epoch=None)
    assert panels(figure)["loss"].lines[0].get_color() == style.VERMILLION
    assert "train" not in words(figure)


def test_the_best_epoch_is_marked_in_each_panel_and_named() -> None:
    figure = curves(9, best_epoch=4)
    assert "best epoch: 4" in words(figure)
    for axes in panels(figure).values():
        assert list(axes.lines[-1].get_xdata()) == [4, 4]
    assert not any("best" in w for w in words(curves(9, best_epoch=None)))


def test_one_epoch_is_visible_and_its_axis_has_whole_epochs() -> None:
    figure = curves(1)
    for axes in panels(figure).values():
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert share_of(rendered(figure), style.BLUE) > 1.5 * share_of(rendered(no_epoch()), style.BLUE)


def no_epoch() -> Figure:
    """The same plot with nothing measured: what is blue here is the legend."""
    nothing = {split: [float("nan")] for split in ("train", "validation")}
    return curves(1, series={"loss": nothing, "accuracy": nothing})


def test_a_value_alone_among_gaps_has_a_marker_in_a_long_run() -> None:
    values = [float("nan")] * 100
    values[50] = 1.0
    values[70:75] = [1.0, 2.0, float("inf"), 1.0, 1.0]
    line = panels(curves(100, series={"loss": {"train": values}}))["loss"].lines[0]
    assert list(line.get_markevery()) == [50]
    assert np.isnan(line.get_ydata()[72])


def test_a_run_that_measured_nothing_says_so() -> None:
    assert words(no_epoch()).count("no finite value") == 2


@pytest.mark.parametrize(
    ("lr", "scale"),
    [
        ([0.1, 0.01, 0.001], "log"),
        ([0.1, 0.1, 0.1], "linear"),
        ([0.1, 0.05, 0.02], "linear"),
        ([0.1, 0.001, 0.0], "linear"),  # a log scale has no zero
    ],
)
def test_the_learning_rate_is_logarithmic_when_it_spans_decades(
    lr: list[float], scale: str
) -> None:
    axes = panels(curves(3, lr))["learning rate"]
    assert axes.get_yscale() == scale
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), lr)


def test_ticks_of_the_learning_rate_are_plain_numbers() -> None:
    shown = words(curves(3, [0.1, 0.01, 0.001]))
    assert {"0.1", "0.01", "0.001"} <= set(shown)


def test_without_learning_rates_there_is_no_panel_for_them() -> None:
    assert list(panels(draw_curves([1], course(1), [], None, "t"))) == ["loss", "accuracy (%)"]


def test_gray_filters_share_one_scale_around_zero() -> None:
    weights = np.random.default_rng(1).normal(size=(6, 1, 3, 3))
    figure = draw_filters(weights, "conv1")
    limit = abs(weights).max()
    for image, kernel in zip(figure.axes[0].images[1::2], weights, strict=True):
        np.testing.assert_array_equal(image.get_array(), kernel[0])
        assert image.get_clim() == (-limit, limit)
    assert {f"-{limit:.3g}", "0", f"+{limit:.3g}", "weight"} <= set(words(figure))


def test_rgb_filters_have_gray_for_zero_and_keep_the_channels() -> None:
    weights = np.zeros((2, 3, 2, 2))
    weights[0, 0, 0, 0], weights[1, 2, 1, 1] = 0.5, -0.5
    first, second = images_of(draw_filters(weights, "conv1"))
    np.testing.assert_allclose(first[0, 0], [255, 128, 128], atol=1)
    np.testing.assert_allclose(first[-1, -1], [128, 128, 128], atol=1)
    np.testing.assert_allclose(second[-1, -1], [128, 128, 0], atol=1)
    assert any("-0.5" in w and "+0.5" in w for w in words(draw_filters(weights, "conv1")))


def test_many_filters_and_channels_are_cut_and_averaged_as_the_title_says() -> None:
    weights = np.random.default_rng(1).normal(size=(70, 4, 3, 3))
    figure = draw_filters(weights, "conv2")
    drawn = figure.axes[0].images[1::2]
    assert len(drawn) == 64
    np.testing.assert_allclose(drawn[63].get_array(), weights[63].mean(0))
    assert words(figure)[0] == "conv2, 64 of 70 shown, mean over 4 input channels"


def test_feature_maps_share_the_scale_of_their_layer_around_zero() -> None:
    maps = np.random.default_rng(2).normal(size=(20, 7, 7))
    figure = draw_features([("conv1", maps), ("conv2", maps[:3] * 9)], GRAY[0], "image 0")
    image, *drawn = figure.axes[0].images[1::2]
    np.testing.assert_array_equal(image.get_array(), GRAY[0, 0])
    assert len(drawn) == 16 + 3
    limit = abs(maps).max()  # zero is white
    assert {one.get_clim() for one in drawn[:16]} == {(-limit, limit)}
    np.testing.assert_array_equal(drawn[15].get_array(), maps[15])
    first, second = (w for w in words(figure) if w.startswith("conv"))
    assert first.startswith("conv1:  20 x 7 x 7, values")
    assert first.endswith("first 16 of 20 maps")
    assert f"{maps.min():.3g} to {maps.max():.3g}" in first
    assert second.startswith("conv2:  3 x 7 x 7")
    assert "first" not in second


def test_maps_without_a_finite_value_are_named_as_such() -> None:
    figure = draw_features([("conv1", np.full((2, 4, 4), np.nan))], GRAY[0], "image 0")
    assert "conv1:  2 x 4 x 4, no finite value" in words(figure)
