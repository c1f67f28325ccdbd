"""One optimizer step in all its forms: pieces, clipping, averages, 16 bits, NaN, memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.engine.ema import AverageWeights
from tests.conftest import Command


def _weights(run: Path, name: str = "last", part: str = "model") -> dict[str, torch.Tensor]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
    found: dict[str, torch.Tensor] = loaded[part]
    return found


def _train(cnnrun: Command, *arguments: object) -> Path:
    ended = cnnrun("train", *arguments, "-q", "training.draw=false")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip()).resolve()


def _own_loss(tmp_path: Path, name: str, body: str) -> tuple[str, str]:
    """Overrides for a loss `name`: cross entropy, after `body` has looked at `outputs`.

    name: one for each test, as what is registered stays registered in this process.
    """
    file = tmp_path / "own_loss.py"
    file.write_text(
        "import torch\nimport torch.nn.functional as F\n"
        "from cnnrun.registry import losses\n\n\n"
        f'@losses.register("{name}")\n'
        "class Own(torch.nn.Module):\n"
        '    """A loss for a test."""\n\n'
        "    calls = 0\n\n"
        "    def forward(self, outputs, targets):\n"
        f"{body}"
        "        return F.cross_entropy(outputs, targets, reduction='none')\n"
    )
    return f"loss={name}", f"plugins=[{file}]"


@pytest.mark.parametrize("pieces", [2, 5, 100])
def test_a_batch_in_pieces_takes_the_same_steps(cnnrun: Command, tiny: Path, pieces: int) -> None:
    whole, parts = (
        _train(cnnrun, tiny, "model.dropout=0.0", f"training.accumulate={n}") for n in (1, pieces)
    )
    for key, value in _weights(whole).items():
        torch.testing.assert_close(_weights(parts)[key], value, rtol=1e-4, atol=1e-5)
    first, second = (
        json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in (whole, parts)
    )
    assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-5)


@pytest.mark.slow
def test_pieces_never_starve_batch_normalization(cnnrun: Command, tiny: Path) -> None:
    """Not even the last, smaller batch is cut into single samples."""
    ended = cnnrun("train", tiny, "-q", "training.accumulate=64", "dataset.batch_size=64",
                   "model={name: mlp, hidden: [8], batch_norm: true}")  # fmt: skip
    assert ended.code == 0, ended.err


@given(st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=200), st.integers(1, 50))
def test_sums_have_the_same_bits_however_they_are_grouped(values: list[float], size: int) -> None:
    losses = torch.tensor(values)
    groups = [exact_sum(part) for part in losses.flip(0).split(size)]
    assert torch.equal(torch.stack(groups).sum(), exact_sum(losses))
    assert exact_sum(losses).item() == pytest.approx(math.fsum(losses.tolist()), abs=1e-6)
    assert exact_sum(torch.tensor([1.0, float("nan")])).isnan()


def test_clipping_is_torchs_own(cnnrun: Command, tiny: Path, monkeypatch: Any) -> None:
    seen = []
    clip = torch.nn.utils.clip_grad_norm_

    def noted(parameters: Any, length: float) -> Any:
        parameters = list(parameters)
        result = clip(parameters, length)
        seen.append(torch.cat([p.grad.flatten() for p in parameters]).norm().item())
        return result

    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", noted)
    _train(cnnrun, tiny, "training.clip_norm=0.05", "training.epochs=1")
    assert seen
    assert max(seen) == pytest.approx(0.05, rel=1e-3)


def test_the_average_follows_its_formula() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = AverageWeights(model, decay=0.9)
    expected = model[0].weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 3))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    own = model[0].weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(model[0].weight.detach(), expected)
    assert torch.equal(model[0].weight.detach(), own)


def test_averages_are_what_is_validated_and_kept(cnnrun: Command, tiny: Path) -> None:
    plain = _train(cnnrun, tiny)
    averaged = _train(cnnrun, tiny, "training.ema=0.9")
    # The steps are the same; what the checkpoint offers is not.
    for key, value in _weights(plain).items():
        assert torch.equal(_weights(averaged, part="raw")[key], value)
    assert any(
        not torch.equal(value, _weights(averaged)[key]) for key, value in _weights(plain).items()
    )
    scores = json.loads(cnnrun("eval", averaged, "--split", "validation", "--json").out)
    rows = [json.loads(line) for line in (averaged / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    assert scores["loss"] == pytest.approx(best["validation_loss"], rel=1e-5)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_16_bits_learn_what_32_bits_learn(cnnrun: Command, tiny: Path, amp: str) -> None:
    accuracies = []
    for chosen in ("off", amp):
        run = _train(cnnrun, tiny, f"training.amp={chosen}", "training.epochs=5")
        accuracies.append(json.loads((run / "summary.json").read_text())["test"]["accuracy"])
    assert accuracies[0] > 0.9
    assert accuracies[1] > accuracies[0] - 0.03
    assert all(value.dtype == torch.float32 for value in _weights(run).values())


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_every_form_of_step_resumes_to_the_same_bits(
    tiny: Path, amp: str, killed_and_resumed: Callable[..., tuple[Path, Path]]
) -> None:
    changes = (f"training.amp={amp}", "training.ema=0.95", "training.clip_norm=0.5",
               "training.accumulate=2", "dataset.augment=[{name: mixup}]",
               "training.draw=false")  # fmt: skip
    whole, cut = killed_and_resumed(25, tiny, *changes)
    for part in ("model", "raw"):
        ours = _weights(cut, part=part)
        assert ours
        for key, value in _weights(whole, part=part).items():
            assert torch.equal(value, ours[key]), key


def test_a_loss_that_is_no_number_names_step_batch_and_checkpoint(
    cnnrun: Command, tiny: Path, tmp_path: Path
) -> None:
    body = (
        "        Own.calls += self.training and outputs.requires_grad\n"
        "        if Own.calls == 25 and outputs.requires_grad:\n"
        "            outputs = outputs * float('nan')\n"
    )
    own = _own_loss(tmp_path, "nan_at_25", body)
    ended = cnnrun("train", tiny, "-q", "training.draw=true", *own)
    assert ended.code == 1
    assert "the loss is nan at step 24 (epoch 2, learning rate 0.1)" in ended.err
    [run] = Path("runs/tiny").iterdir()
    batch = json.loads((run / "bad_batch.json").read_text())
    assert (batch["step"], batch["epoch"], len(batch["indices"])) == (24, 2, 64)
    from cnnrun.runtime.randomness import shuffled

    start = 64 * (24 - 21)  # 1,293 images are 21 batches
    assert batch["indices"] == shuffled(1293, 0, 1)[start : start + 64].tolist()
    assert f"the last good checkpoint is {run}/checkpoints/last.pt" in ended.err
    assert all(value.isfinite().all() for value in _weights(run).values())
    assert (run / "plots" / "curves.png").is_file()


def test_a_batch_whose_loss_is_no_number_can_be_left_out(
    cnnrun: Command, tiny: Path, tmp_path: Path
) -> None:
    body = (
        "        Own.calls += outputs.requires_grad\n"
        "        if Own.calls in (3, 30) and outputs.requires_grad:\n"
        "            outputs = outputs * float('inf')\n"
    )
    run = _train(cnnrun, tiny, *_own_loss(tmp_path, "inf_at_3_and_30", body),
                 "training.on_nan=skip", "model.batch_norm=true")  # fmt: skip
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["skipped"] for row in rows] == [1, 1]
    assert all(value.isfinite().all() for value in _weights(run).values())
    assert rows[-1]["validation_accuracy"] > 0.8


def test_out_of_memory_says_what_would_fit_and_auto_batch_finds_it(
    cnnrun: Command, tiny: Path, tmp_path: Path
) -> None:
    body = (
        "        if len(outputs) > 20 and outputs.requires_grad:\n"
        "            raise torch.OutOfMemoryError('CUDA out of memory.')\n"
    )
    loss = (*_own_loss(tmp_path, "more_than_20_is_much", body), "model.dropout=0.0")
    ended = cnnrun("train", tiny, "-q", *loss)
    assert ended.code == 1
    assert "out of memory on a batch of 64 images; training.accumulate=2" in ended.err
    assert "training.auto_batch=true" in ended.err
    assert "dataset.batch_size=32" in ended.err

    found = cnnrun("train", tiny, "-q", *loss, "training.auto_batch=true")
    assert found.code == 0, found.err
    assert "a batch now goes in 4 pieces" in found.err
    by_hand = _train(cnnrun, tiny, "model.dropout=0.0", "training.accumulate=4")
    for key, value in _weights(by_hand).items():
        assert torch.equal(_weights(Path(found.out.strip()))[key], value)


def test_out_of_memory_with_single_images_is_the_end(
    cnnrun: Command, tiny: Path, tmp_path: Path
) -> None:
    body = "        raise torch.OutOfMemoryError('CUDA out of memory.')\n"
    ended = cnnrun("train", tiny, "-q", *_own_loss(tmp_path, "all_is_much", body),
                   "training.auto_batch=true")  # fmt: skip
    assert ended.code == 1
    assert "in 32 pieces" in ended.err


def test_torchs_own_switch_for_determinism(cnnrun: Command, tiny: Path) -> None:
    try:
        run = _train(cnnrun, tiny, "training.deterministic=true")
        assert torch.are_deterministic_algorithms_enabled()
        again = _train(cnnrun, tiny, "training.deterministic=true")
    finally:
        torch.use_deterministic_algorithms(mode=False)
    for key, value in _weights(run).items():
        assert torch.equal(value, _weights(again)[key])


@pytest.mark.slow
def test_a_compiled_model_learns_and_is_saved_bare(cnnrun: Command, tiny: Path) -> None:
    run = _train(cnnrun, tiny, "training.compile=true")
    plain = _train(cnnrun, tiny)
    assert list(_weights(run)) == list(_weights(plain))
    ended = json.loads(cnnrun("eval", run, "--json").out)
    assert ended["accuracy"] > 0.85
