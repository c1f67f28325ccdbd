"""What measures before or instead of a training: check, auto_speed, lr-find. Nothing is left."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnrun.config.experiment import from_dict, load
from cnnrun.engine import auto_speed, build_data, lr_finder
from cnnrun.engine.build import build
from cnnrun.engine.measuring import measure
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import UserError
from tests.conftest import Command

NOT_FINITE = """\
import torch
from cnnrun.plugin import losses


@losses.register("{name}")
class Own(torch.nn.Module):
    \"\"\"Is no number.\"\"\"

    def forward(self, outputs, targets):
        return outputs.sum(1) * float("nan")
"""


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("measuring_check", ("check",)),
        ("measuring_lr", ("lr-find",)),
        ("measuring_seeds", ("check", "training.on_nan=skip")),
    ],
)
def test_a_loss_that_is_no_number_leaves_no_file(
    cnnrun: Command, tiny: Path, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    Path("own.py").write_text(NOT_FINITE.format(name=name))
    before = sorted(tmp_path.rglob("*"))
    ended = cnnrun(command[0], tiny, f"loss={name}", "plugins=[own.py]", *command[1:])
    assert "a bug" not in ended.err
    if len(command) == 1:
        assert ended.code == 1, ended.err
    assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)) == before


def test_check_in_a_run_directory_leaves_it_as_it_was(cnnrun: Command, tiny: Path) -> None:
    run = Path(cnnrun("train", tiny, "-q").out.strip()).resolve()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    Path("own.py").write_text(NOT_FINITE.format(name="measuring_inside"))
    plugin = Path("own.py").resolve()
    import os

    os.chdir(run)
    ended = cnnrun("check", "config.yaml", "loss=measuring_inside", f"plugins=[{plugin}]")
    assert ended.code == 1
    assert "the loss is nan at step 0" in ended.err
    assert "bad_batch" not in ended.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_auto_speed_leaves_a_loss_that_is_no_number_to_the_training(
    cnnrun: Command, tiny: Path, on_nan: str
) -> None:
    name = f"measuring_speed_{on_nan}"
    Path("own.py").write_text(NOT_FINITE.format(name=name))
    ended = cnnrun("train", tiny, f"loss={name}", "plugins=[own.py]", "training.auto_speed=true",
                   f"training.on_nan={on_nan}", "training.epochs=1", "-q")  # fmt: skip
    assert ended.code == 1, ended.err
    assert "auto_speed  the loss is not finite: the settings are unchanged" in ended.err
    [run] = Path("runs/tiny").iterdir()
    assert (run / "bad_batch.json").is_file() == (on_nan == "stop")
    assert not Path("bad_batch.json").exists()
    if on_nan == "skip":
        [row] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert row["train_loss"] is None, "nothing was measured"
        assert row["train_accuracy"] is None
        assert row["skipped"] == 21


def test_auto_speed_loads_the_data_once(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    apply_splits = build_data.apply_splits

    def counted(*given: Any) -> Any:
        loads.append("load")
        return apply_splits(*given)

    monkeypatch.setattr(build_data, "apply_splits", counted)
    ended = cnnrun("train", tiny, "training.auto_speed=true", "-q")
    assert ended.code == 0, ended.err
    assert len(loads) == 1


def test_auto_speed_steps_copies_alone(tiny: Path) -> None:
    parts = build(load(tiny, ["training.auto_speed=true", "model.batch_norm=true"]))
    before = {key: value.clone() for key, value in parts.model.state_dict().items()}
    chosen = auto_speed.fastest(parts)
    assert chosen.model is parts.model
    assert not chosen.experiment.training.auto_speed
    for key, value in chosen.model.state_dict().items():
        assert torch.equal(value, before[key])


GROUPS = {
    "name": "groups",
    "dataset": {"name": "digits", "batch_size": 64, "limit": 300},
    "model": {"name": "mlp", "hidden": [16]},
    "optimizer": {"name": "sgd", "lr": 0.2},
    "transfer": {"lr_multipliers": {"features": 0.1, "head": 2.0}},
    "device": "cpu",
    "training": {"epochs": 2, "draw": False},
}


def test_lr_find_keeps_the_ratios_of_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is that of a training whose `optimizer.lr` is the rate that is tried."""
    seen: list[list[float]] = []
    step = Trainer.train_step

    def noted(self: Trainer, *batch: Any) -> None:
        step(self, *batch)
        seen.append([group["lr"] for group in self.optimizer.param_groups])

    monkeypatch.setattr(Trainer, "train_step", noted)
    found = lr_finder.find_rate(from_dict(GROUPS, "groups"), 1e-4, 1e-2, 12)
    assert found.rates == pytest.approx([1e-4 * 100 ** (k / 11) for k in range(12)])
    for rate, (features, head) in zip(found.rates, seen, strict=True):
        assert (features, head) == pytest.approx((0.1 * rate, 2 * rate))


def test_the_logged_rate_is_the_optimizers_not_the_first_groups(cnnrun: Command) -> None:
    Path("groups.yaml").write_text(json.dumps(GROUPS))
    run = Path(cnnrun("train", "groups.yaml", "-q", "schedule={name: step, epochs: 1}").out.strip())
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["lr"] for row in log] == pytest.approx([0.2, 0.02])


def test_measuring_is_training_without_a_record(tiny: Path) -> None:
    trainer = Trainer(build(load(tiny)))
    batches = [next(trainer.train_batches.iterate())] * 20
    means = measure(trainer, batches)
    assert means["loss"] is not None
    assert math.isfinite(means["loss"])
    assert (trainer.progress.step, trainer.sums.samples) == (20, 20 * 64)
    again = measure(trainer, batches)
    assert again["loss"] is not None
    assert again["loss"] < means["loss"], "it has learnt these"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("training.patience=2", "dataset.validation=0"), "training.patience: waits for a better"),
        (
            ("task=stylize", "dataset={name: image, longest: 32, file: 'sample:china.jpg'}",
             "loss={name: neural_style, weights: random, styles: [{file: 'sample:flower.jpg'}]}",
             "model={name: image, stages: 3}", "optimizer=lbfgs"),
            "training.epochs: 2 can't go through the 3 sizes",
        ),
    ],
)  # fmt: skip
def test_what_would_never_come_is_refused_before_training(
    cnnrun: Command, tiny: Path, changes: tuple[str, ...], told: str
) -> None:
    for command in ("check", "train"):
        ended = cnnrun(command, tiny, *changes)
        assert ended.code == 2, ended.err
        assert told in ended.err


def test_a_run_that_waits_for_nothing_is_refused_by_the_trainer(tiny: Path) -> None:
    with pytest.raises(UserError, match="no validation split"):
        Trainer(build(load(tiny, ["training.patience=1", "dataset.validation=0"])))
