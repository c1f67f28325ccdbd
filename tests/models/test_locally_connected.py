"""Locally connected layers: a convolution where weights are shared, apart where they are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnrun.models.cnn import CNN
from cnnrun.models.locally_connected import LocallyConnected2d


def _shared(local: LocallyConnected2d, convolution: nn.Conv2d) -> LocallyConnected2d:
    """`local` with the weights of `convolution` at every position."""
    local.kernels().data[:] = convolution.weight.data
    if convolution.bias is not None and local.bias is not None:
        local.bias.data[:] = convolution.bias.data
    return local


@given(
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 4),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel_size=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    padding_mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_with_equal_weights_it_is_a_convolution(
    inputs: int, outputs: int, size: tuple[int, int], **options: Any
) -> None:
    """In what it computes, and in the gradient of its input and (summed) of its weights."""
    convolution = nn.Conv2d(inputs, outputs, **options)
    local = _shared(LocallyConnected2d(inputs, outputs, size, **options), convolution)
    images = torch.randn(2, inputs, *size, requires_grad=True)
    expected, result = convolution(images), local(images)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    slope = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (images, convolution.weight), slope)
    given_ = torch.autograd.grad(result, (images, local.weight), slope)
    torch.testing.assert_close(given_[0], wanted[0], rtol=1e-4, atol=1e-4)
    summed = given_[1].sum(0).view_as(wanted[1])
    torch.testing.assert_close(summed, wanted[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_gradient_equals_finite_differences(bias: bool) -> None:
    """Of weights that differ by position, which no convolution can vouch for."""
    local = LocallyConnected2d(
        2, 3, (5, 4), kernel_size=2, padding=1, stride=2, dilation=2, bias=bias
    ).double()
    images = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in local.named_parameters()]
    values = tuple(p.detach().requires_grad_() for p in local.parameters())

    def of_all(images: torch.Tensor, *parameters: torch.Tensor) -> Any:
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(local, named, (images,))

    assert torch.autograd.gradcheck(of_all, (images, *values))


def test_positions_learn_apart_and_see_only_their_neighbourhood() -> None:
    local = LocallyConnected2d(1, 1, (4, 4), kernel_size=3)
    images = torch.ones(1, 1, 4, 4, requires_grad=True)
    local(images)[0, 0, 0, 1].backward()
    assert local.weight.grad is not None
    assert images.grad is not None
    assert local.weight.grad.abs().sum((1, 2)).bool().tolist() == [False, True, False, False]
    assert images.grad[0, 0].bool().tolist() == [[False, True, True, True]] * 3 + [[False] * 4]


def test_each_position_has_its_kernel_in_reading_order() -> None:
    local = LocallyConnected2d(1, 1, (2, 3), kernel_size=1)
    local.kernels().data[:] = torch.arange(6.0).view(6, 1, 1, 1, 1)
    assert local.bias is not None
    local.bias.data[:] = 0
    assert local(torch.ones(1, 1, 2, 3))[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_it_begins_as_a_convolution_does() -> None:
    torch.manual_seed(0)
    local = LocallyConnected2d(4, 8, (12, 12), kernel_size=3)
    convolution = nn.Conv2d(4, 8 * 100, 3)
    for own, theirs in zip(local.parameters(), convolution.parameters(), strict=True):
        assert own.std().item() == pytest.approx(theirs.std().item(), rel=0.06)
        assert own.abs().max().item() <= 1 / 6


def test_without_shared_weights_a_cnn_has_as_many_more_as_it_has_positions() -> None:
    """The connections are the same, so the comparison of the two is like with like."""
    options: dict[str, Any] = {"channels": [5], "pooling": "none"}
    conv = CNN((2, 6, 7), 3, **options).features
    local = CNN((2, 6, 7), 3, **options, kind="local").features
    count = [sum(p.numel() for p in model.parameters()) for model in (conv, local)]
    assert count[1] == 6 * 7 * count[0]


def test_a_kernel_larger_than_the_padded_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 5 is larger"):
        LocallyConnected2d(1, 1, (4, 8), kernel_size=5)
