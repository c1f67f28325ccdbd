"""The learning-rate range test: its rules, and that it leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnrun.config.experiment import load
from cnnrun.engine.lr_finder import RangeTest, find_rate, to_text
from tests.conftest import Command


def test_the_rules_on_a_known_curve() -> None:
    """A logistic fall whose middle is at 1e-3, a least loss at 1e-1, then divergence."""
    exponents = np.linspace(-6, 0, 121)
    fall = 2 / (1 + np.exp(4 * (exponents + 3)))
    smooth = np.where(exponents <= -1, fall, fall + (exponents + 1) * 3)
    smooth[1] = 2.5  # noise at the beginning is no fall
    found = RangeTest((10**exponents).tolist(), smooth.tolist(), smooth.tolist())
    assert found.steepest == pytest.approx(1e-3, rel=0.2)
    assert found.tenth_of_least == pytest.approx(1e-2, rel=0.2)
    assert found.suggestion == found.steepest


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        (1e-6, 1.0, ""), (3e-2, 1.0, "below the range tried; try --least 0.0001"),
        (1e-6, 3e-2, "the loss still fell at the greatest rate; try --greatest 0.3"),
    ],
)  # fmt: skip
def test_a_range_that_lacks_what_is_looked_for(first: float, last: float, told: str) -> None:
    """Of a loss that is least at a rate of 0.1."""
    rates = np.geomspace(first, last, 100)
    losses = np.log10(rates / 0.1) ** 2
    words = to_text(RangeTest(rates.tolist(), losses.tolist(), losses.tolist()))
    assert words.endswith(f" ({told})" if told else words.split()[-1])
    assert told in words
    assert told or "(" not in words


def test_on_a_parabola_the_least_loss_is_below_the_rate_that_diverges(tiny: Path) -> None:
    found = find_rate(load(tiny, ["model.dropout=0.0", "optimizer.momentum=0.0"]), steps=80)
    assert len(found.rates) == len(found.losses) == len(found.smooth) > 20
    ratios = [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert found.smooth[-1] > 2 * min(found.smooth), "it went on to where the loss diverges"
    assert 1e-4 < found.suggestion < 1


def test_it_leaves_no_trace(tiny: Path, cnnrun: Command, tmp_path: Path) -> None:
    plain = Path(cnnrun("train", tiny, "-q", "output=one").out.strip())
    before = sorted(tmp_path.rglob("*"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ended = cnnrun("lr-find", tiny, "--json", "--steps", 30)
    assert torch.equal(torch.rand(3), expected)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["suggestion"] > 0
    assert sorted(tmp_path.rglob("*")) == before
    after = Path(cnnrun("train", tiny, "-q", "output=two").out.strip())
    weights = [
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
        for run in (plain, after)
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.parametrize(
    "change", ["task=reconstruct", "optimizer={name: adam, lr: 0.1}", "schedule=cosine"]
)
def test_it_works_for_other_tasks_optimizers_and_schedules(
    cnnrun: Command, tiny: Path, change: str
) -> None:
    model = ["model={name: linear_autoencoder, code: 4}"] if "task" in change else []
    ended = cnnrun("lr-find", tiny, change, *model, "-o", "curve.png", "--steps", 40)
    assert ended.code == 0, ended.err
    assert "suggestion               optimizer.lr=" in ended.out
    assert Path("curve.png").stat().st_size > 5000


def test_rates_that_make_no_sense_are_told(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("lr-find", tiny, "--least", 1, "--greatest", 0.1)
    assert (ended.code, "--least must be above 0" in ended.err) == (2, True)
    ended = cnnrun("lr-find", tiny, "--least", 1e20, "--greatest", 1e30)
    assert ended.code == 1
    assert "try a smaller --least" in ended.err
