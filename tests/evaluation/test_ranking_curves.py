"""Curves over thresholds and calibration bins, against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from cnnrun.components.tasks.metrics import calibration, softmax
from cnnrun.evaluation.ranking_curves import answered, ranking

# Few distinct scores, so that there are ties.
SCORES = hnp.arrays(np.float64, st.integers(2, 60), elements=st.integers(0, 12).map(float))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_curves_and_areas_are_those_of_scikit_learn(scores: np.ndarray, random: object) -> None:
    positive = np.array([random.random() < 0.4 for _ in scores])  # type: ignore[attr-defined]
    positive[0], positive[-1] = True, False
    found = ranking(scores, positive)
    false_rate, true_rate, _ = roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.r_[0, found.false_alarms], false_rate, atol=1e-12)
    np.testing.assert_allclose(np.r_[0, found.recall], true_rate, atol=1e-12)
    precision, recall, _ = precision_recall_curve(positive, scores)
    np.testing.assert_allclose(found.precision[::-1], precision[:-1], atol=1e-12)
    np.testing.assert_allclose(found.recall[::-1], recall[:-1], atol=1e-12)
    assert found.auroc == pytest.approx(roc_auc_score(positive, scores))
    assert found.average_precision == pytest.approx(average_precision_score(positive, scores))


@pytest.mark.parametrize("bins", [2, 10, 15])
def test_calibration_bins_are_what_a_loop_over_samples_counts(bins: int) -> None:
    random = np.random.default_rng(bins)
    probabilities = softmax(random.normal(size=(200, 4)) * 2)
    labels = random.integers(0, 4, 200)
    found = calibration(probabilities, labels, bins)
    expected = np.zeros((bins, 3))
    for row, label in zip(probabilities, labels, strict=True):
        k = min(k for k in range(bins) if row.max() <= (k + 1) / bins)
        expected[k] += row.max(), row.argmax() == label, 1
    np.testing.assert_allclose(
        np.stack([found.confidence, found.correct, found.counts], 1), expected
    )
    gap = abs(expected[:, 0] - expected[:, 1]).sum() / 200
    assert found.error == pytest.approx(gap)


def test_outputs_that_are_no_numbers_are_left_out_and_counted() -> None:
    outputs = np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 0.0], [-np.inf, 0.0]])
    found = answered(outputs, np.array([0, 1, 1, 1]))
    assert found.left_out == 2
    np.testing.assert_array_equal(found.labels, [0, 1])  # a logarithm of 0 is a probability of 0
    assert found.probabilities[1].tolist() == [0, 1]
