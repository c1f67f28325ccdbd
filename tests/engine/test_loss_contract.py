"""What a loss and a model may give: the same numbers everywhere, or one sentence with the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.components.tasks.exact_sums import exact_rest, exact_sum
from cnnrun.components.tasks.loss_contract import LossError, per_sample
from cnnrun.config.experiment import from_dict
from cnnrun.engine.build import build
from cnnrun.engine.epoch_sums import EpochSums
from tests.conftest import Command

CONFIG = """\
dataset: {name: digits, batch_size: 32, limit: 170, validation: 50}
model: {name: mlp, hidden: [8]}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
device: cpu
training: {epochs: 2, draw: false}
"""

# What a user's loss may return of the cross entropies (N,).
RIGHT = {
    "each": "values",
    "column": "values[:, None]",
    "mean": "values.mean()",
    "double": "values.double()",
}
WRONG = {
    "one": ("values.mean()[None]", "gives the shape (1,) for a batch of 32"),
    "matrix": ("values[:, None] * torch.ones(3)", "gives the shape (32, 3) for a batch of 32"),
    "number": ("values.mean().item()", "gives a float for a batch of 32"),
    "detached": ("values.detach()", "gives a value without a gradient"),
    "remade": ("torch.tensor(values.tolist())", "gives a value without a gradient"),
    "integer": ("values.long()", "gives torch.int64 for a batch of 32"),
    "nothing": ("None", "gives a NoneType for a batch of 32"),
}


def _loss(name: str, value: str) -> list[str]:
    """Overrides for a loss of cross entropy that returns `value`."""
    Path(f"{name}.py").write_text(
        "import torch\nimport torch.nn.functional as F\n"
        "from cnnrun.plugin import losses\n\n\n"
        f'@losses.register("{name}")\n'
        "class Own(torch.nn.Module):\n"
        '    """A loss for a test."""\n\n'
        "    def forward(self, outputs, targets):\n"
        "        values = F.cross_entropy(outputs, targets, reduction='none')\n"
        f"        return {value}\n"
    )
    return [f"loss={name}", f"plugins=[{name}.py]"]


@pytest.fixture
def rows(cnnrun: Command) -> Callable[..., list[dict[str, Any]]]:
    """The log and test scores of a training."""
    Path("c.yaml").write_text(CONFIG)

    def train(*arguments: str) -> list[dict[str, Any]]:
        ended = cnnrun("train", "c.yaml", "-q", *arguments)
        assert ended.code == 0, ended.err
        run = Path(ended.out.split()[0])
        log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        test = json.loads((run / "summary.json").read_text())["test"]
        return [*log, {key: test[key] for key in ("accuracy", "loss")}]

    return train


@pytest.mark.parametrize("kind", RIGHT)
def test_every_shape_that_is_taken_gives_the_same_numbers_everywhere(
    rows: Callable[..., list[dict[str, Any]]], kind: str
) -> None:
    """In training, validation and test, by pieces, in 16 bits' own scale and with many seeds."""
    own = _loss(f"contract_{kind}", RIGHT[kind])
    wanted = rows()
    for extra in ((), ("training.accumulate=3",), ("training.on_nan=skip",), ("--seeds", "2")):
        found = rows(*own, *extra)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4), (kind, extra)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("extra", [(), ("--seeds", "2"), ("training.accumulate=2",)])
def test_every_other_is_refused_with_its_shape_and_place(
    cnnrun: Command, kind: str, extra: tuple[str, ...]
) -> None:
    Path("c.yaml").write_text(CONFIG)
    value, told = WRONG[kind]
    name = f"contract_{kind}_{len(''.join(extra))}"  # what is registered stays registered
    own = _loss(name, value)
    if "accumulate" in "".join(extra):
        told = told.replace("32", "16")
    for command in ("train", "check"):
        if command == "check" and extra:
            continue
        ended = cnnrun(command, "c.yaml", *own, *extra)
        assert ended.code in (1, 2), ended.err
        assert f"the loss '{name}' {told}" in ended.err
        assert f"{name}.py:" in ended.err
        assert "a bug" not in ended.err
        assert "Traceback" not in ended.err


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 5), max_size=3))
def test_what_stands_for_samples_is_one_number_each(count: int, shape: list[int]) -> None:
    losses = torch.rand(shape)
    taken = tuple(shape) in ((), (count,), (count, 1))
    if not taken:
        with pytest.raises(LossError, match="gives the shape"):
            per_sample(losses, count)
        return
    found = per_sample(losses, count)
    assert found.shape == (count,)
    torch.testing.assert_close(found.mean(), losses.mean())


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e-7), min_size=1, max_size=100), st.integers(1, 30))
def test_sums_of_tiny_losses_are_exact_too(values: list[float], size: int) -> None:
    losses = torch.tensor(values, dtype=torch.float64)
    whole = exact_sum(losses) + exact_rest(losses)
    assert whole.item() == pytest.approx(sum(values), rel=1e-6, abs=1e-15)
    pieces = [torch.stack((exact_sum(p), exact_rest(p))) for p in losses.flip(0).split(size)]
    assert torch.equal(
        torch.stack(pieces).sum(0), torch.stack((exact_sum(losses), exact_rest(losses)))
    )


def test_a_mean_loss_below_what_sums_resolve_is_no_zero() -> None:
    values = {
        "name": "tiny",
        "dataset": {"name": "digits", "limit": 40},
        "model": "mlp",
        "loss": "cross_entropy",
        "device": "cpu",
    }
    parts = build(from_dict(values, "tiny"))
    sums = EpochSums(parts)
    assert sums.means() == {"loss": None, "accuracy": None}, "nothing measured is no zero"
    for step in range(3):
        sums.note(step, torch.full((4,), 2e-10), torch.eye(10)[:4], torch.arange(4))
    sums.samples = 12
    assert sums.means() == {"loss": pytest.approx(2e-10, rel=1e-5), "accuracy": 1.0}


def test_a_task_whose_losses_change_shape_later_is_refused_then(cnnrun: Command) -> None:
    """Every step is looked at, not only the first."""
    Path("c.yaml").write_text(CONFIG)
    Path("fickle.py").write_text(
        "from cnnrun.components.tasks.classify import Classify\n"
        "from cnnrun.plugin import tasks\n\n\n"
        '@tasks.register("fickle")\n'
        "class Fickle(Classify):\n"
        '    """Classification that gives the mean from the third batch on."""\n\n'
        "    calls = 0\n\n"
        "    def step(self, model, loss, inputs, targets):\n"
        "        losses, outputs = super().step(model, loss, inputs, targets)\n"
        "        self.calls += model.training\n"
        "        return (losses.mean() if self.calls > 2 else losses), outputs\n"
    )
    ended = cnnrun("train", "c.yaml", "task=fickle", "plugins=[fickle.py]", "-q")
    assert ended.code in (1, 2), ended.err
    assert "the task 'fickle' must give losses of the shape (32,) in `step`, not ()" in ended.err
    assert "fickle.py:" in ended.err


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("values + outputs.gather(1, targets[:, None])[:, 0]", "contract_mixed_0 fails on targets"),
        ("values + outputs[range(len(targets)), targets]", "contract_mixed_1 fails on targets"),
        ("values", ""),
    ],
)
def test_a_loss_that_needs_whole_labels_is_not_given_mixed_ones(
    cnnrun: Command, value: str, told: str
) -> None:
    Path("c.yaml").write_text(CONFIG)
    own = _loss("contract_mixed_" + ("2" if not told else told[15]), value)
    assert cnnrun("check", "c.yaml", *own).code == 0
    mixed = cnnrun("check", "c.yaml", *own, "dataset.augment=[horizontal_flip, mixup]")
    assert bool(mixed.code) == bool(told), mixed.err
    if told:
        assert f"dataset.augment.1: mixes labels, and {told}" in mixed.err
