"""Losses against torch's own and against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnrun.errors import UserError
from cnnrun.registry import losses

torch.manual_seed(0)
OUTPUTS = torch.randn(40, 5)
LABELS = torch.tensor([0] * 20 + [1] * 10 + [2] * 6 + [3] * 3 + [4])
COUNTS = torch.bincount(LABELS)
SHARES = torch.rand(40, 5).softmax(1)


def _loss(name: str, counts: Tensor = COUNTS, **parameters: Any) -> Any:
    config = losses.get(name).schema().model_validate({"name": name, **parameters})
    return losses.build(config, num_classes=5, class_counts=counts)


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
def test_one_number_a_sample_with_a_gradient(name: str, targets: Tensor) -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    values = _loss(name)(outputs, targets)
    assert values.shape == (40,)
    assert (values >= 0).all()
    alone = torch.cat([_loss(name)(OUTPUTS[i : i + 1], targets[i : i + 1]) for i in range(40)])
    torch.testing.assert_close(values.detach(), alone)
    values.mean().backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(smoothing: float) -> None:
    expected = F.cross_entropy(OUTPUTS, LABELS, label_smoothing=smoothing)
    assert _loss("cross_entropy", label_smoothing=smoothing)(OUTPUTS, LABELS).mean() == (
        pytest.approx(expected.item())
    )


@pytest.mark.parametrize("weight", ["balanced", [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_weighted_mean_over_the_training_split_is_torchs(weight: Any) -> None:
    given = 1 / COUNTS if weight == "balanced" else torch.tensor(weight)
    expected = F.cross_entropy(OUTPUTS, LABELS, weight=given.float())
    assert _loss("cross_entropy", weight=weight)(OUTPUTS, LABELS).mean().item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_balanced_classes_weigh_the_same_and_an_absent_class_is_finite() -> None:
    loss = _loss("cross_entropy", weight="balanced")
    torch.testing.assert_close(loss.weight * COUNTS, torch.full((5,), 8.0))
    absent = _loss("cross_entropy", torch.tensor([5, 5, 0, 5, 5]), weight="balanced")
    assert torch.isfinite(absent.weight).all()


def test_wrong_weights_are_refused() -> None:
    with pytest.raises(UserError, match="2 numbers for 5 classes"):
        _loss("cross_entropy", weight=[1.0, 2.0])
    with pytest.raises(UserError, match="weight 0"):
        _loss("focal", weight=[0.0] * 5)


def test_nll_is_cross_entropy_with_or_without_a_log_softmax_before() -> None:
    expected = F.cross_entropy(OUTPUTS, LABELS, reduction="none")
    torch.testing.assert_close(_loss("nll")(OUTPUTS, LABELS), expected)
    torch.testing.assert_close(_loss("nll")(OUTPUTS.log_softmax(1), LABELS), expected)


def test_focal_without_focus_is_cross_entropy_and_with_it_is_its_definition() -> None:
    expected = F.cross_entropy(OUTPUTS, LABELS, reduction="none")
    torch.testing.assert_close(_loss("focal", gamma=0.0)(OUTPUTS, LABELS), expected)
    p = OUTPUTS.softmax(1)[torch.arange(40), LABELS]
    torch.testing.assert_close(_loss("focal")(OUTPUTS, LABELS), (1 - p) ** 2 * -p.log())


def test_mse_and_l1_on_labels_and_on_pictures() -> None:
    one_hot = F.one_hot(LABELS, 5).float()
    torch.testing.assert_close(_loss("mse")(OUTPUTS, LABELS).mean(), F.mse_loss(OUTPUTS, one_hot))
    torch.testing.assert_close(_loss("l1")(OUTPUTS, LABELS).mean(), F.l1_loss(OUTPUTS, one_hot))
    a, b = torch.rand(2, 4, 3, 8, 8)
    torch.testing.assert_close(_loss("mse")(a, b).mean(), F.mse_loss(a, b))
