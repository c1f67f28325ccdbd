"""Sums over samples whose bits do not depend on how the samples are grouped."""

from __future__ import annotations

from torch import Tensor


def exact_sum(values: Tensor) -> Tensor:
    """The sum of `values` (N, ...) over samples, whose bits do not depend on order or grouping.

    So no metric depends on a checkpoint within an epoch or on the number of processes.
    Multiples of 2^-28 add up without rounding in float64 up to a total of 2^25, 3 x 10^7; beyond it
    last bits may differ. Where there is no float64 (MPS) they always may.
    """
    if values.device.type == "mps":
        return values.sum(0)
    return (values.double() * 2**28).round_().sum(0) / 2**28


def exact_rest(values: Tensor) -> Tensor:
    """What `exact_sum` rounds away of `values` (N,), as exact: a multiple of 2^-56, of shape ().

    Losses below 10^-8 are nothing else.
    """
    if values.device.type == "mps":
        return values.new_zeros(())
    scaled = values.double() * 2**28
    return ((scaled - scaled.round()) * 2**28).round_().sum() / 2**56
