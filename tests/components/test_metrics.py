"""Scores against scikit-learn's and torchmetrics'."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.components.tasks.metrics import auroc, classification_scores, softmax


@pytest.mark.slow
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
        assert "top5" not in scores, "of five classes the right one is always among five"
    assert scores["majority"] == pytest.approx(np.bincount(labels).max() / samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class was predicted and is not there
        balanced = sk.balanced_accuracy_score(labels, predicted)
    assert scores["balanced_accuracy"] == pytest.approx(balanced)
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    if classes != 2:
        assert "auroc" not in scores
    elif len(set(labels)) == 1:
        assert scores["auroc"] is None
    else:
        margins = outputs[:, 1].astype(float) - outputs[:, 0]
        assert scores["auroc"] == pytest.approx(sk.roc_auc_score(labels, margins))


@pytest.mark.parametrize("classes", [2, 10])
def test_calibration_error_equals_torchmetrics(classes: int) -> None:
    # Not by every process that collects the tests: it takes 2 s.
    from torchmetrics.functional.classification import multiclass_calibration_error

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


@given(st.integers(0, 10**6), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_auroc_counts_ties_as_scikit_learn_does(seed: int, samples: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.arange(samples) % 2
    scores = random.integers(0, 4, samples).astype(float)
    assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("classes", [2, 10])
def test_an_output_that_is_no_number_is_no_hit(bad: float, classes: int) -> None:
    """Neither in accuracy nor among the first five, and nothing measured is made of it."""
    labels = np.arange(20) % classes
    outputs = np.eye(classes)[labels] * 5
    outputs[::2] = bad
    scores = classification_scores(outputs, labels, [str(k) for k in range(classes)])
    assert scores["accuracy"] == 0.5
    assert scores.get("top5", 0.5) == 0.5
    assert scores["unanswered"] == 10
    assert scores["ece"] is None
    assert sum(map(sum, scores["confusion"])) == 10
    assert sum(row["support"] for row in scores["per_class"]) == 20
    nothing = classification_scores(outputs * np.nan, labels, [str(k) for k in range(classes)])
    assert (nothing["accuracy"], nothing.get("top5", 0.0)) == (0.0, 0.0)


def test_a_classifier_that_names_the_largest_class_is_seen_through() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    outputs = np.tile([1.0, 0.0], (100, 1))
    scores = classification_scores(outputs, labels, ["common", "rare"])
    assert (scores["accuracy"], scores["majority"]) == (0.95, 0.95)
    assert (scores["balanced_accuracy"], scores["auroc"]) == (0.5, 0.5)
    assert scores["macro_f1"] == pytest.approx((2 * 95 / 195) / 2)
