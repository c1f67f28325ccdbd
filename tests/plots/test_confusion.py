"""The confusion matrix, from 2 to more than a thousand classes."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.plots import style
from cnnrun.plots.drawing.confusion import MOST_PAIRS, draw_confusion, most_confused
from tests.plot_reading import (
    counts,
    words,
)


def test_confusion_counts_have_true_classes_in_rows() -> None:
    matrix = np.array([[5, 2, 0], [0, 7, 1], [3, 0, 4]])
    figure = draw_confusion(matrix, ["ant", "bee", "cat"])
    axes = figure.axes[1]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(j, i): str(matrix[i, j]) for i in range(3) for j in range(3)}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["ant", "bee", "cat"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ant", "bee", "cat"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_ylim() == (2.5, -0.5)
    assert "Confusion matrix: 16 of 22 correct (72.73 %)" in words(figure)


def test_confusion_colour_is_the_share_of_the_row() -> None:
    small = draw_confusion(np.array([[1, 3], [0, 4]]), ["a", "b"]).axes[1].images[0]
    large = draw_confusion(np.array([[100, 300], [0, 4]]), ["a", "b"]).axes[1].images[0]
    np.testing.assert_array_equal(small.get_array(), large.get_array())
    np.testing.assert_allclose(small.get_array()[0] ** 2, [0.25, 0.75], rtol=1e-6)


def test_one_mistake_among_thousands_differs_from_none() -> None:
    matrix = np.array([[9999, 1, 0], [0, 5, 0], [0, 0, 5]])
    image = draw_confusion(matrix, list("abc")).axes[1].images[0]
    colours = image.to_rgba(image.get_array(), bytes=True)[0, :, :3].astype(int)
    assert tuple(colours[2]) == (255, 255, 255)
    assert abs(colours[1] - colours[2]).max() > 40


def test_a_class_without_images_is_marked() -> None:
    figure = draw_confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])
    assert np.isnan(figure.axes[1].images[0].get_array().filled(np.nan)[1]).all()
    assert "predicted class\n(gray rows: no images)" in words(figure)


def test_above_twenty_classes_pairs_are_listed_instead_of_counts() -> None:
    matrix = np.eye(30, dtype=int) * 10
    matrix[4, 7], matrix[9, 2] = 1234, 6
    figure = draw_confusion(matrix, [f"name {k}" for k in range(30)])
    assert not figure.axes[1].texts
    shown = words(figure)
    assert {"1,234", "name 4 → name 7", "6", "name 9 → name 2"} <= set(shown)
    assert shown.index("name 4 → name 7") < shown.index("name 9 → name 2")


def test_names_are_thinned_evenly_and_the_axis_says_so() -> None:
    axes = draw_confusion(counts(100), [f"c{k}" for k in range(100)]).axes[1]
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"c{k}" for k in range(0, 100, 2)]
    assert list(axes.get_yticks()) == list(range(0, 100, 2))
    assert axes.get_ylabel() == "true class (every 2nd is named)"


@pytest.mark.slow
def test_a_thousand_classes_are_quick(tmp_path: Path) -> None:
    matrix, names = counts(1000), [f"class {k}" for k in range(1000)]
    start = time.process_time()
    figure = draw_confusion(matrix, names)
    style.save(figure, tmp_path / "confusion.png")
    assert time.process_time() - start < 3  # 1.2 s measured; a label for each class takes 6 s
    assert len(words(figure)) < 150 + 2 * MOST_PAIRS


@pytest.mark.slow
def test_blocks_of_very_many_classes_show_their_largest_cell() -> None:
    matrix = np.eye(1300, dtype=int)
    matrix[100, 901] = 1
    figure = draw_confusion(matrix, ["c"] * 1300)
    dots = figure.axes[1].images[0].get_array()
    assert dots.shape == (650, 650)
    assert dots[50, 450] == pytest.approx(0.5**0.5)
    assert any("largest of 2 x 2 cells" in w for w in words(figure))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10), st.data())
def test_most_confused_equals_sorting_all_pairs(size: int, limit: int, data: Any) -> None:
    cells = st.lists(st.integers(0, 4), min_size=size * size, max_size=size * size)
    matrix = np.array(data.draw(cells), dtype=np.uint8).reshape(size, size)
    names = [f"n{k}" for k in range(size)]
    pairs = [
        (names[i], names[j], int(matrix[i, j]))
        for i, j in itertools.product(range(size), repeat=2)
        if i != j and matrix[i, j]
    ]
    assert most_confused(matrix, names, limit) == sorted(pairs, key=lambda p: -p[2])[:limit]
