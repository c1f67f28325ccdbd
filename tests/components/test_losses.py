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
CLASSIFYING = [
    name for name in losses.names() if "labels" in getattr(losses.get(name).factory, "compares", ())
]


def _loss(name: str, counts: Tensor = COUNTS, **parameters: Any) -> Any:
    config = losses.get(name).schema().model_validate({"name": name, **parameters})
    return losses.build(config, num_classes=5, class_counts=counts)


@pytest.mark.parametrize("name", CLASSIFYING)
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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", ["balanced", [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_weighted_mean_over_the_training_split_is_torchs(weight: Any, smoothing: float) -> None:
    """In whatever batches: torch's own mean within a batch would depend on its neighbours."""
    given_ = 1 / COUNTS if weight == "balanced" else torch.tensor(weight)
    expected = F.cross_entropy(OUTPUTS, LABELS, weight=given_.float(), label_smoothing=smoothing)
    loss = _loss("cross_entropy", weight=weight, label_smoothing=smoothing)
    assert loss(OUTPUTS, LABELS).mean().item() == pytest.approx(expected.item(), rel=1e-5)
    in_batches = [loss(OUTPUTS[i : i + 7], LABELS[i : i + 7]).sum() for i in range(0, 40, 7)]
    assert sum(in_batches).item() / 40 == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_classes_weigh_the_same_and_an_absent_class_is_finite() -> None:
    loss = _loss("cross_entropy", weight="balanced")
    torch.testing.assert_close(loss.weight * COUNTS, torch.full((5,), 8.0))


def test_a_class_absent_from_training_weighs_no_more_than_the_rarest() -> None:
    absent = _loss("cross_entropy", torch.tensor([500, 50, 0, 500, 500]), weight="balanced")
    assert absent.weight[2] == absent.weight[1] == absent.weight.max()
    assert absent.weight[1] == pytest.approx(10 * absent.weight[0])
    with pytest.raises(UserError, match="balanced needs training samples"):
        _loss("cross_entropy", torch.zeros(5, dtype=torch.int64), weight="balanced")


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


def test_mse_and_l1_on_labels_and_on_images() -> None:
    one_hot = F.one_hot(LABELS, 5).float()
    torch.testing.assert_close(_loss("mse")(OUTPUTS, LABELS).mean(), F.mse_loss(OUTPUTS, one_hot))
    torch.testing.assert_close(_loss("l1")(OUTPUTS, LABELS).mean(), F.l1_loss(OUTPUTS, one_hot))
    a, b = torch.rand(2, 4, 3, 8, 8)
    torch.testing.assert_close(_loss("mse")(a, b).mean(), F.mse_loss(a, b))


@pytest.mark.parametrize("name", CLASSIFYING)
def test_shares_of_one_class_are_its_label(name: str) -> None:
    one_hot = F.one_hot(LABELS, 5).float()
    torch.testing.assert_close(_loss(name)(OUTPUTS, one_hot), _loss(name)(OUTPUTS, LABELS))


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "focal"])
@pytest.mark.parametrize("weight", ["none", "balanced"])
def test_mixed_labels_have_the_mixed_loss(name: str, weight: str) -> None:
    """Mixup (Zhang et al. 2018): the loss is linear in the shares."""
    loss = _loss(name) if name == "nll" else _loss(name, weight=weight)
    first, second = LABELS, LABELS.flip(0)
    shares = 0.3 * F.one_hot(first, 5) + 0.7 * F.one_hot(second, 5)
    expected = 0.3 * loss(OUTPUTS, first) + 0.7 * loss(OUTPUTS, second)
    torch.testing.assert_close(loss(OUTPUTS, shares), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "focal"])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_certainty_right_or_wrong_gives_finite_gradients(name: str, gamma: float) -> None:
    loss = _loss(name, gamma=gamma) if name == "focal" else _loss(name)
    outputs = torch.tensor([[200.0, 0, 0, 0, 0]] * 2, requires_grad=True)
    values = loss(outputs, torch.tensor([0, 1]))
    values.sum().backward()
    assert values.tolist() == pytest.approx([0, 200])
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad[1].abs().sum() > 0


@pytest.mark.parametrize("name", ["mse", "l1"])
def test_low_precision_outputs_have_losses_in_float32(name: str) -> None:
    assert _loss(name)(OUTPUTS.bfloat16(), LABELS).dtype == torch.float32


@pytest.mark.parametrize("name", CLASSIFYING)
def test_gradients_are_finite_differences(name: str) -> None:
    outputs = OUTPUTS[:4].double().requires_grad_()
    for targets in (LABELS[:4], SHARES[:4].double()):
        assert torch.autograd.gradcheck(lambda o, t=targets: _loss(name)(o, t), (outputs,))
