"""Dropout's masks: their share, mean and gradient, and that a seed gives the same ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import grad

from cnnrun.models.dropout import Dropout

SHAPES = st.lists(st.integers(0, 7), min_size=1, max_size=4)
P = st.floats(0, 0.999)


def _train(p: float, values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(values)


@settings(deadline=None)
@given(shape=SHAPES, p=P)
def test_values_are_dropped_or_grown_and_the_same_with_the_same_seed(
    shape: list[int], p: float
) -> None:
    values = torch.randn(shape)
    after = _train(p, values)
    kept = after != 0
    torch.testing.assert_close(after[kept], (values / (1 - p))[kept], rtol=0.01, atol=0)
    assert torch.equal(after, _train(p, values))


@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 0.2, 0.5, 0.9, 0.99])
def test_the_share_is_p_and_the_mean_is_kept(p: float) -> None:
    count = 1_000_000
    after = _train(p, torch.ones(count))
    spread = (p * (1 - p) / count) ** 0.5
    assert (after == 0).float().mean().item() == pytest.approx(p, abs=5 * spread + 2**-17)
    assert after.double().mean().item() == pytest.approx(1, abs=5 * spread / (1 - p) + 1e-6)


def test_each_value_is_decided_on_its_own() -> None:
    """The four that share a draw of 64 bits are no more alike than others are."""
    kept = (_train(0.5, torch.ones(400_000)) != 0).double().view(-1, 8)
    between = torch.corrcoef(kept.T) - torch.eye(8)
    assert between.abs().max() < 5 / len(kept) ** 0.5
    _, counts = kept[:, :4].unique(dim=0, return_counts=True)
    assert counts.tolist() == pytest.approx([len(kept) / 16] * 16, rel=0.1)


def test_the_gradient_goes_where_the_values_went() -> None:
    values = torch.randn(5, 7, requires_grad=True)
    after = _train(0.3, values)
    after.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad * values, after)


def test_evaluation_leaves_values_alone() -> None:
    values = torch.randn(3, 4)
    assert Dropout(0.9).eval()(values) is values


def test_it_stands_wherever_torchs_does() -> None:
    """Half precision, other orders in memory, other transforms, other threads."""
    assert isinstance(Dropout(0.5), nn.Dropout)
    assert _train(0.5, torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16
    maps = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert torch.equal(_train(0.5, maps), _train(0.5, maps.contiguous()))
    assert grad(lambda x: _train(0.5, x).sum())(torch.ones(8)).unique().tolist() == [0, 2]
    threads = torch.get_num_threads()
    before = _train(0.5, torch.ones(100_000))
    torch.set_num_threads(1)
    assert torch.equal(before, _train(0.5, torch.ones(100_000)))
    torch.set_num_threads(threads)
