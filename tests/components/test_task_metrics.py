"""Scores of values, sets of labels and masks are scikit-learn's and torchmetrics'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.segmentation import mean_iou

from cnnrun.components.tasks.label_set_metrics import (
    average_precision,
    best_thresholds,
    label_set_scores,
)
from cnnrun.components.tasks.mask_metrics import segmentation_scores
from cnnrun.components.tasks.multilabel import Multilabel, sigmoid
from cnnrun.components.tasks.regress import Regress
from cnnrun.components.tasks.segment import Segment, counted, of_masks
from cnnrun.components.tasks.task import Task
from cnnrun.components.tasks.value_metrics import regression_scores
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.target_kind import Targets
from cnnrun.data.targets import IGNORED, LabelSets, Masks, Values
from cnnrun.registry import losses

NAMES = ["a", "b", "c"]


def _with_data(task: Task, targets: Targets) -> Any:
    split = Split(torch.zeros(len(targets), 1, 4, 4, dtype=torch.uint8), targets)
    task.learn(Dataset(tuple(NAMES), split, split))
    return task


def _loss(name: str, targets: Targets, **parameters: Any) -> nn.Module:
    config = losses.get(name).schema().model_validate({"name": name, **parameters})
    counts = targets.counts(3)
    made: nn.Module = losses.build(
        config, num_classes=3, class_counts=counts, sample_count=len(targets)
    )
    return made


class Fixed(nn.Module):
    """Answers with what it was given."""

    def __init__(self, outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, _inputs: torch.Tensor) -> torch.Tensor:
        return self.outputs


def _logged(task: Task, outputs: torch.Tensor, targets: Targets, loss: str) -> dict[str, Any]:
    """The measures of one epoch in one batch of all."""
    model, inputs = Fixed(outputs), torch.zeros(len(targets), 1, 4, 4)
    losses_, kept = task.step(model, _loss(loss, targets), inputs, targets.held)
    sums = task.sums(losses_.detach(), kept, targets.held)
    assert len(sums) == task.sum_count
    return task.figures((sums / len(targets)).tolist())


class TestValues:
    random = np.random.default_rng(0)
    true = (random.standard_normal((50, 3)) * [1, 30, 0.01] + [5, -100, 0]).astype(np.float32)
    said = (true + random.standard_normal((50, 3)) * [0.3, 9, 0.01]).astype(np.float32)

    def test_scikit_learns(self) -> None:
        scores = regression_scores(self.said, self.true, NAMES)
        assert scores["r2"] == pytest.approx(sk.r2_score(self.true, self.said))
        assert scores["mae"] == pytest.approx(sk.mean_absolute_error(self.true, self.said))
        assert scores["rmse"] == pytest.approx(sk.root_mean_squared_error(self.true, self.said))
        each = sk.r2_score(self.true, self.said, multioutput="raw_values")
        assert [row["r2"] for row in scores["per_value"]] == pytest.approx(each)

    def test_the_log_has_the_same_figures_from_sums(self) -> None:
        held = torch.from_numpy(self.true)
        task: Regress = _with_data(Regress(), Values(held))
        outputs = task.standardized(torch.from_numpy(self.said))
        logged = _logged(task, outputs, Values(held), "mse")
        scores = regression_scores(self.said, self.true, NAMES)
        for name in ("r2", "mae", "rmse"):
            assert logged[name] == pytest.approx(scores[name], rel=1e-5)
        squared = (outputs - task.standardized(held)).square().mean()
        assert logged["loss"] == pytest.approx(squared.item(), rel=1e-5)

    def test_values_that_are_all_the_same(self) -> None:
        true = np.full((4, 1), 0.1, np.float32)
        for said in (true, true + np.float32(0.1)):
            assert regression_scores(said, true, ["a"])["r2"] is None
        both = np.concatenate((true, self.true[:4, :1]), 1)
        scores = regression_scores(both + 1, both, ["a", "b"])
        assert scores["r2"] == pytest.approx(sk.r2_score(both[:, 1], both[:, 1] + 1))
        assert [row["r2"] for row in scores["per_value"]] == [None, scores["r2"]]
        varied = torch.tensor([[0.1], [0.3], [-7]])
        task: Regress = _with_data(Regress(), Values(varied.expand(3, 3)))
        same = torch.full((7, 3), 0.1)
        outputs = task.standardized(same) + 0.5
        assert _logged(task, outputs, Values(same), "l1")["r2"] is None

    def test_standardized_values_come_back(self) -> None:
        held = torch.from_numpy(self.true)
        task: Regress = _with_data(Regress(), Values(held))
        standard = task.standardized(held)
        torch.testing.assert_close(standard.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
        torch.testing.assert_close(standard.std(0, correction=0), torch.ones(3))
        loss, inputs = _loss("huber", Values(held)), torch.zeros(50, 1, 4, 4)
        answers = task.answers(Fixed(standard), loss, inputs, held)
        torch.testing.assert_close(answers["values"], held, rtol=1e-4, atol=1e-4)
        assert answers["losses"].abs().max() < 1e-6

    @given(st.floats(0.1, 3))
    def test_huber_is_torchs(self, delta: float) -> None:
        said, true = torch.from_numpy(self.said), torch.from_numpy(self.true)
        expected = nn.functional.huber_loss(said, true, reduction="none", delta=delta).mean(1)
        torch.testing.assert_close(_loss("huber", Values(true), delta=delta)(said, true), expected)


class TestLabelSets:
    random = np.random.default_rng(1)
    true = (random.random((60, 3)) < [0.5, 0.1, 0.8]).astype(np.float32)
    # Rounded, so that some scores are equal.
    outputs = np.round(2 * true - 1 + random.standard_normal((60, 3)), 1).astype(np.float32)

    def test_scikit_learns(self) -> None:
        probabilities, thresholds = sigmoid(self.outputs), [0.4, 0.5, 0.7]
        scores = label_set_scores(probabilities, self.true, NAMES, thresholds)
        expected = sk.average_precision_score(self.true, probabilities, average=None)
        found = [row["average_precision"] for row in scores["per_label"]]
        assert found == pytest.approx(expected)
        assert scores["map"] == pytest.approx(expected.mean())
        for told, said in (("", probabilities >= thresholds), ("_half", probabilities >= 0.5)):
            for kind in ("micro", "macro"):
                wanted = sk.f1_score(self.true, said, average=kind)
                assert scores[f"{kind}_f1{told}"] == pytest.approx(wanted)
        said = probabilities >= thresholds
        assert scores["exact"] == pytest.approx(sk.accuracy_score(self.true, said))
        areas = sk.roc_auc_score(self.true, probabilities, average=None)
        assert [row["auroc"] for row in scores["per_label"]] == pytest.approx(areas)
        precision, recall, f1, support = sk.precision_recall_fscore_support(self.true, said)
        for k, row in enumerate(scores["per_label"]):
            assert row["precision"] == pytest.approx(precision[k])
            assert row["recall"] == pytest.approx(recall[k])
            assert (row["f1"], row["support"]) == (pytest.approx(f1[k]), support[k])

    def test_the_log_has_the_same_figures_from_sums(self) -> None:
        held = LabelSets(torch.from_numpy(self.true))
        task = _with_data(Multilabel(), held)
        logged = _logged(task, torch.from_numpy(self.outputs), held, "bce_logits")
        scores = label_set_scores(sigmoid(self.outputs), self.true, NAMES, [0.5] * 3)
        for name in ("micro_f1_half", "macro_f1_half"):
            assert logged[name] == pytest.approx(scores[name])

    def test_no_threshold_has_a_higher_f1(self) -> None:
        probabilities = sigmoid(self.outputs)
        chosen = best_thresholds(probabilities, self.true)
        for k, threshold in enumerate(chosen):
            of_label, true = probabilities[:, k], self.true[:, k]
            best = max(sk.f1_score(true, of_label >= t) for t in np.unique(of_label))
            assert sk.f1_score(true, of_label >= threshold) == pytest.approx(best)
        assert best_thresholds(probabilities[:, :1], 0 * self.true[:, :1]) == [0.5]

    def test_of_a_label_that_no_image_has_nothing_is_known(self) -> None:
        scores = label_set_scores(np.full((2, 1), 0.2), np.zeros((2, 1)), ["a"], [0.5])
        assert (scores["map"], scores["macro_f1"], scores["micro_f1"]) == (None, None, None)
        assert average_precision(np.array([0.1]), np.array([False])) is None

    @pytest.mark.parametrize("pos_weight", ["none", "balanced", [1.0, 2.0, 0.5]])
    def test_the_loss_is_torchs(self, pos_weight: Any) -> None:
        true, outputs = torch.from_numpy(self.true), torch.from_numpy(self.outputs)
        weights = {
            "none": None,
            "balanced": (1 - true).sum(0) / true.sum(0),
        }.get(str(pos_weight), torch.tensor([1.0, 2.0, 0.5]))
        expected = nn.BCEWithLogitsLoss(pos_weight=weights, reduction="none")(outputs, true)
        loss = _loss("bce_logits", LabelSets(true), pos_weight=pos_weight)
        torch.testing.assert_close(loss(outputs, true), expected.mean(1))


class TestMasks:
    generator = torch.Generator().manual_seed(2)
    held = torch.randint(0, 3, (6, 5, 7), generator=generator, dtype=torch.uint8)
    outputs = torch.randn(6, 3, 5, 7, generator=generator)
    ignored = torch.rand(6, 5, 7, generator=generator) < 0.2

    def _with_ignored(self) -> torch.Tensor:
        return self.held.masked_fill(self.ignored, IGNORED)

    def test_torchmetrics_and_scikit_learns(self) -> None:
        counts = counted(self.outputs, self.held).numpy()
        scores = segmentation_scores(counts, NAMES)
        said = self.outputs.argmax(1)
        together = [m.reshape(1, -1) for m in (said, self.held.long())]
        expected = mean_iou(*together, num_classes=3, input_format="index", per_class=True)[0]
        assert [row["iou"] for row in scores["per_class"]] == pytest.approx(expected.tolist())
        assert scores["miou"] == pytest.approx(expected.mean().item())
        assert scores["pixel_accuracy"] == pytest.approx(
            sk.accuracy_score(self.held.flatten(), said.flatten())
        )

    def test_ignored_pixels_do_not_count(self) -> None:
        kept = ~self.ignored.flatten()
        said, true = self.outputs.argmax(1).flatten()[kept], self.held.flatten()[kept]
        scores = segmentation_scores(counted(self.outputs, self._with_ignored()).numpy(), NAMES)
        expected = sk.jaccard_score(true, said, average=None)
        assert [row["iou"] for row in scores["per_class"]] == pytest.approx(expected)
        assert [row["support"] for row in scores["per_class"]] == np.bincount(true).tolist()

    def test_the_log_has_the_same_figures_from_sums(self) -> None:
        held = Masks(self._with_ignored())
        task = _with_data(Segment(), held)
        logged = _logged(task, self.outputs, held, "cross_entropy")
        scores = segmentation_scores(counted(self.outputs, held.held).numpy(), NAMES)
        assert logged["miou"] == pytest.approx(scores["miou"])
        assert logged["pixel_accuracy"] == pytest.approx(scores["pixel_accuracy"])

    def test_a_class_that_is_nowhere_does_not_count(self) -> None:
        counts = np.array([[3, 0, 0, 4, 0, 0, 3, 1, 0]], np.float32)
        scores = segmentation_scores(counts, NAMES)
        assert [row["iou"] for row in scores["per_class"]] == [0.75, 0.0, None]
        assert scores["miou"] == 0.375

    def test_cross_entropy_is_torchs_mean_over_the_pixels_that_count(self) -> None:
        held = self._with_ignored()
        found = of_masks(_loss("cross_entropy", Masks(held)), self.outputs, held)
        for k in range(6):
            expected = nn.functional.cross_entropy(
                self.outputs[k : k + 1], held[k : k + 1].long(), ignore_index=IGNORED
            )
            assert found[k].item() == pytest.approx(expected.item(), rel=1e-5)

    @pytest.mark.parametrize("name", ["cross_entropy", "nll", "focal"])
    def test_a_pixel_is_a_sample(self, name: str) -> None:
        """The same loss, of all pixels one by one."""
        weight = {} if name == "nll" else {"weight": "balanced"}
        loss = _loss(name, Masks(self.held), **weight)
        pixels = self.outputs.movedim(1, 3).reshape(-1, 3)
        each = loss(pixels, self.held.long().flatten()).view(6, -1).mean(1)
        torch.testing.assert_close(of_masks(loss, self.outputs, self.held), each)

    def test_dice_is_one_minus_the_coefficient(self) -> None:
        """Of probabilities that are 0 or 1 it is that of sets."""
        said = self.outputs.argmax(1)
        sure = 1e4 * nn.functional.one_hot(said, 3).movedim(3, 1).float()
        loss = _loss("dice", Masks(self.held), smooth=1e-6, cross_entropy=0.0)
        found = of_masks(loss, sure, self.held)
        for k in range(6):
            dice = sk.f1_score(self.held[k].flatten(), said[k].flatten(), average="macro")
            assert found[k].item() == pytest.approx(1 - dice, abs=1e-5)

    def test_dice_does_not_see_ignored_pixels(self) -> None:
        held, loss = self._with_ignored(), _loss("dice", Masks(self.held))
        other = self.outputs.where(~self.ignored[:, None], torch.tensor(9.0))
        torch.testing.assert_close(of_masks(loss, self.outputs, held), of_masks(loss, other, held))

    @pytest.mark.parametrize("name", ["cross_entropy", "nll", "focal", "dice"])
    def test_an_image_of_which_nothing_is_known_has_no_loss(self, name: str) -> None:
        held = torch.full_like(self.held, IGNORED)
        parameters = {"cross_entropy": 1.0} if name == "dice" else {}
        outputs = self.outputs.clone().requires_grad_()
        found = of_masks(_loss(name, Masks(self.held), **parameters), outputs, held)
        assert torch.equal(found, torch.zeros(6))
        found.sum().backward()
        assert outputs.grad is not None
        assert not outputs.grad.any()
