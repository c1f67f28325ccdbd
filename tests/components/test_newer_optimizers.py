"""Lion, LAMB, Muon, NAdam and RAdam against their papers' rules, written plainly in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from cnnrun.components.optimizers.newer import orthogonalized
from cnnrun.registry import optimizers

Array = npt.NDArray[np.float64]
LR, B1, B2, DECAY, STEPS = 0.01, 0.8, 0.95, 0.1, 8


def lion(w: Array, gradients: list[Array]) -> Array:
    """Chen et al. 2023, algorithm 2."""
    m = np.zeros_like(w)
    for g in gradients:
        w = w - LR * (np.sign(B1 * m + (1 - B1) * g) + DECAY * w)
        m = B2 * m + (1 - B2) * g
    return w


def lamb(w: Array, gradients: list[Array]) -> Array:
    """You et al. 2020, algorithm 2, whose phi is the identity."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        r = (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + 1e-6) + DECAY * w
        ratio = np.linalg.norm(w) / np.linalg.norm(r) if np.linalg.norm(w) > 0 else 1.0
        w = w - LR * ratio * r
    return w


def nadam(w: Array, gradients: list[Array]) -> Array:
    """Dozat 2016, algorithm 2 with its schedule of the momentum; weight decay decoupled."""
    m, v, product = np.zeros_like(w), np.zeros_like(w), 1.0
    for t, g in enumerate(gradients, 1):
        now, after = (B1 * (1 - 0.5 * 0.96 ** (s * 0.004)) for s in (t, t + 1))
        product *= now
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        w = w * (1 - LR * DECAY)
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        w = w - LR * ahead / (np.sqrt(v / (1 - B2**t)) + 1e-8)
    return w


def radam(w: Array, gradients: list[Array]) -> Array:
    """Liu et al. 2020, algorithm 2; weight decay decoupled."""
    m, v, longest = np.zeros_like(w), np.zeros_like(w), 2 / (1 - B2) - 1
    for t, g in enumerate(gradients, 1):
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        w = w * (1 - LR * DECAY)
        mean = m / (1 - B1**t)
        length = longest - 2 * t * B2**t / (1 - B2**t)
        if length > 5:
            adapted = math.sqrt(1 - B2**t) / (np.sqrt(v) + 1e-8)
            share = (length - 4) * (length - 2) * longest
            w = w - LR * mean * adapted * math.sqrt(
                share / ((longest - 4) * (longest - 2) * length)
            )
        else:
            w = w - LR * mean
    return w


def muon(w: Array, gradients: list[Array]) -> Array:
    """Jordan et al. 2024, scaled as Liu et al. 2025 do; AdamW for what is no matrix."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    matrix = w.ndim > 1
    for t, g in enumerate(gradients, 1):
        w = w * (1 - LR * DECAY)
        if not matrix:
            m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
            w = w - LR * (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + 1e-8)
            continue
        m = 0.95 * m + 0.05 * g
        x = (0.05 * g + 0.95 * m).reshape(len(w), -1)
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        s = s / np.linalg.norm(s)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        size = 0.2 * math.sqrt(max(x.shape))
        w = w - LR * size * ((u * s) @ vh).reshape(w.shape)
    return w


RULES: dict[str, Callable[[Array, list[Array]], Array]] = {
    "lion": lion,
    "lamb": lamb,
    "nadam": nadam,
    "radam": radam,
    "muon": muon,
}


def stepped(name: str, start: Array, gradients: list[Array]) -> Array:
    weight = nn.Parameter(torch.tensor(start))
    keys = {"lr": LR, "beta1": B1, "beta2": B2, "weight_decay": DECAY}
    config = optimizers.get(name).schema()(**keys)
    optimizer: Any = optimizers.build(config, parameters=[weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    return weight.detach().numpy()


@pytest.mark.parametrize("shape", [(5,), (6, 4), (3, 2, 3, 3), (8, 1, 2, 2)])
@pytest.mark.parametrize("name", RULES)
def test_steps_are_those_of_the_paper(name: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    start = random.normal(size=shape)
    gradients = [random.normal(size=shape) for _ in range(STEPS)]
    found = stepped(name, start, gradients)
    close = 1e-6 if name == "nadam" else 1e-9  # torch keeps NAdam's product in float32
    np.testing.assert_allclose(found, RULES[name](start, gradients), rtol=close, atol=1e-12)
    assert np.abs(found - start).max() > LR


def test_a_weight_of_zeros_moves_by_lamb_and_one_without_gradient_by_none() -> None:
    gradients = [np.ones(3)] * 2
    found = stepped("lamb", np.zeros(3), gradients)
    np.testing.assert_allclose(found, lamb(np.zeros(3), gradients), rtol=1e-9)
    for name in RULES:
        weight = nn.Parameter(torch.ones(2, 2))
        optimizer: Any = optimizers.build(optimizers.get(name).schema()(), parameters=[weight])
        optimizer.step()
        assert torch.equal(weight, torch.ones(2, 2))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_muon_steps_a_matrix_as_torchs_own_does(shape: tuple[int, int]) -> None:
    """torch computes the orthogonal matrix in bfloat16, with two to three digits."""
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.eye(*shape)) for _ in range(2))
    config: Any = optimizers.get("muon").schema()(lr=0.1, weight_decay=0.1)
    optimizer: Any = optimizers.build(config, parameters=[ours])
    reference = torch.optim.Muon([theirs], 0.1, 0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.01)


def test_an_orthogonalized_matrix_has_singular_values_near_1() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(20, 30), 5))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
