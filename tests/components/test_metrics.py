"""Scores against scikit-learn's and torchmetrics'."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from cnnrun.components.tasks.metrics import classification_scores, softmax


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_scores_equal_scikit_learn(seed: int, samples: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    outputs = random.normal(size=(samples, classes)).astype(np.float32) * 3
    labels = random.integers(0, classes, samples)
    scores = classification_scores(outputs, labels, [f"c{k}" for k in range(classes)])
    predicted, all_labels = outputs.argmax(1), list(range(classes))
    assert scores["accuracy"] == sk.accuracy_score(labels, predicted)
    assert scores["confusion"] == sk.confusion_matrix(labels, predicted, labels=all_labels).tolist()
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=all_labels, zero_division=0
    )
    for k, row in enumerate(scores["per_class"]):
        assert row["support"] == support[k]
        assert row["precision"] == pytest.approx(precision[k])
        if support[k]:
            assert row["recall"] == pytest.approx(recall[k])
            assert row["f1"] == pytest.approx(f1[k])
        else:
            assert row["recall"] is None
    if classes > 5:
        expected = sk.top_k_accuracy_score(labels, outputs, k=5, labels=all_labels)
        assert scores["top5"] == pytest.approx(expected)
    else:
        assert scores["top5"] == 1.0


@pytest.mark.parametrize("classes", [2, 10])
def test_calibration_error_equals_torchmetrics(classes: int) -> None:
    random = np.random.default_rng(classes)
    outputs = random.normal(size=(500, classes)) * 2
    labels = random.integers(0, classes, 500)
    expected = multiclass_calibration_error(
        torch.from_numpy(softmax(outputs)), torch.from_numpy(labels), num_classes=classes, n_bins=15
    )
    scores = classification_scores(outputs, labels, [str(k) for k in range(classes)])
    assert scores["ece"] == pytest.approx(float(expected), abs=1e-6)


def test_ties_count_as_argmax_decides() -> None:
    """A constant model is right for class 0 alone, in accuracy and in top-5 alike."""
    labels = np.arange(10)
    scores = classification_scores(np.zeros((10, 10)), labels, [str(k) for k in labels])
    assert scores["accuracy"] == pytest.approx(0.1)
    assert scores["top5"] == pytest.approx(0.5)
