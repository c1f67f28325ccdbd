"""Many seeds in one process: each is what a run by itself would have been."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cnnrun.config.experiment import from_dict
from cnnrun.engine.many_seeds import ELEMENTWISE, Seeds
from cnnrun.engine.stacked_models import StackedModels
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import Command

CNN = """\
dataset: {name: digits, batch_size: 32, limit: 400, augment: [{name: translation, fraction: 0.1}]}
model:
  {name: cnn, channels: [4, 8], batch_norm: true, head: [16], dropout: 0.3, spatial_dropout: 0.1}
optimizer: {name: adam, lr: 0.003}
schedule: cosine
device: cpu
training: {epochs: 2, draw: false}
"""
MLP = """\
dataset: {name: digits, batch_size: 20, limit: 300}
model: {name: mlp, hidden: [16, 16], dropout: 0.2}
optimizer: {name: sgd, lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 1e-4}
device: cpu
training: {epochs: 2, draw: false}
"""
MIXED = """\
dataset: {name: digits, batch_size: 30, limit: 300, augment: [{name: mixup}]}
model: {name: cnn, channels: [4], kind: local, activation: tanh}
loss: {name: cross_entropy, label_smoothing: 0.1, weight: balanced}
optimizer: {name: adamw, lr: 0.01}
device: cpu
training: {epochs: 2, draw: false, ema: 0.9}
"""


def rows(run: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def assert_alike(found: Path, expected: Path) -> None:
    """Equal up to the order of float sums: logs, scores, weights, the optimizer's state."""
    for one, other in zip(rows(found), rows(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    ours, theirs = (Checkpoint.load(run / "checkpoints/last.pt") for run in (found, expected))
    torch.testing.assert_close(ours.model, theirs.model, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours.raw, theirs.raw, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        ours.optimizer["state"], theirs.optimizer["state"], rtol=1e-3, atol=1e-5
    )
    assert ours.progress["step"] == theirs.progress["step"]
    assert {**ours.config, "output": ""} == {**theirs.config, "output": ""}
    summaries = [json.loads((run / "summary.json").read_text()) for run in (found, expected)]
    for key in ("seed", "epochs", "best_epoch", "parameters"):
        assert summaries[0][key] == summaries[1][key]
    assert summaries[0]["test"] == pytest.approx(summaries[1]["test"], rel=1e-4, abs=1e-5)
    files = [{str(f.relative_to(run)) for f in run.rglob("*")} for run in (found, expected)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("text", [CNN, MLP, MIXED])
def test_each_seed_is_as_if_it_were_alone(cnnrun: Command, text: str) -> None:
    Path("many.yaml").write_text(text)
    together = cnnrun("train", "many.yaml", "--seeds", "7,2,0", "-q")
    assert together.code == 0, together.err
    runs = [Path(line) for line in together.out.split()]
    assert len(runs) == 3
    for seed, run in zip((7, 2), runs[:2], strict=True):
        alone = cnnrun("train", "many.yaml", f"seed={seed}", "output=alone", "-q")
        assert_alike(run, Path(alone.out.strip()))
    sizes = {(run / "checkpoints/last.pt").stat().st_size for run in runs}
    alone_size = (Path(alone.out.strip()) / "checkpoints/last.pt").stat().st_size
    assert max(sizes) < 1.1 * alone_size  # a seed's file holds no other seed's weights


@pytest.mark.parametrize(
    "name", ["nadam", "lion", "torch/RAdam", "torch/Adadelta", "torch/Adamax", "torch/Rprop"]
)
def test_each_optimizer_that_is_taken_steps_each_seed_alone(cnnrun: Command, name: str) -> None:
    assert name in ELEMENTWISE
    few = [f"optimizer={{name: {name}}}", "training.epochs=1", "dataset.limit=60"]
    Path("many.yaml").write_text(MLP)
    together = cnnrun("train", "many.yaml", *few, "--seeds", "0,3", "-q")
    assert together.code == 0, together.err
    alone = cnnrun("train", "many.yaml", *few, "seed=3", "output=alone", "-q")
    assert_alike(Path(together.out.split()[1]), Path(alone.out.strip()))


@pytest.mark.parametrize("name", ["lamb", "muon", "lbfgs", "torch/Adafactor", "torch/ASGD"])
def test_optimizers_that_look_at_whole_tensors_are_refused(cnnrun: Command, name: str) -> None:
    Path("many.yaml").write_text(MLP)
    ended = cnnrun("train", "many.yaml", f"optimizer={{name: {name}}}", "--seeds", "2")
    assert ended.code == 2
    assert f"optimizer: '{name}' does not work with many seeds at once; train them" in ended.err


def test_a_number_counts_from_the_experiments_own_seed(cnnrun: Command) -> None:
    Path("many.yaml").write_text(MLP)
    ended = cnnrun("train", "many.yaml", "seed=5", "training.epochs=1", "--seeds", "2", "--json")
    assert [json.loads(line)["seed"] for line in ended.out.splitlines()] == [5, 6]
    assert "seed 6  epoch 1/1  train loss" in ended.err
    shown = cnnrun("train", "many.yaml", "training.epochs=1", "--seeds", "1")
    assert shown.out.count("run       runs/many/") == 1


@pytest.mark.parametrize("text", [CNN, MLP])
def test_stopped_they_go_on_one_by_one(
    cnnrun: Command, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("many.yaml").write_text(text)
    whole = cnnrun("train", "many.yaml", "seed=1", "output=alone", "-q").out.strip()
    step = Seeds.train_step

    def step_and_stop(self: Seeds, number: int, *given: Any) -> None:
        step(self, number, *given)
        if self.trainers[0].progress.step == 17:  # in the second epoch
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Seeds, "train_step", step_and_stop)
    stopped = cnnrun("train", "many.yaml", "--seeds", "2", "-q")
    assert stopped.code == 130
    assert "stopped and saved; resume with" in stopped.err
    assert stopped.err.count("cnnrun train --resume runs/many/") == 2
    [second] = [line.split()[-1] for line in stopped.err.splitlines() if "--resume" in line][1:]
    resumed = cnnrun("train", "--resume", second, "-q")
    assert resumed.code == 0, resumed.err
    assert_alike(Path(second), Path(whole))


def test_a_seed_that_diverges_leaves_the_others_alone(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("many.yaml").write_text(MLP)
    init = Seeds.__init__

    def spoil(self: Seeds, *given: Any) -> None:
        init(self, *given)
        with torch.no_grad():
            next(self.trainers[1].stepped.model.parameters()).fill_(float("nan"))

    monkeypatch.setattr(Seeds, "__init__", spoil)
    ended = cnnrun("train", "many.yaml", "--seeds", "3", "-q")
    assert ended.code == 1
    assert "error: seed 1: the loss is nan at step 0" in ended.err
    assert "seed 0" not in ended.err
    finished = [json.loads(f.read_text())["seed"] for f in Path().glob("runs/*/*/summary.json")]
    assert sorted(finished) == [0, 2]


@pytest.mark.slow
def test_patience_ends_for_each_seed_alone(cnnrun: Command) -> None:
    Path("many.yaml").write_text(MLP)
    changes = ("training.epochs=12", "training.patience=2", "optimizer.lr=0.3")
    together = cnnrun("train", "many.yaml", *changes, "--seeds", "3", "-q")
    assert together.code == 0, together.err
    for seed, run in enumerate(together.out.split()):
        alone = cnnrun("train", "many.yaml", *changes, f"seed={seed}", "output=alone", "-q").out
        assert len(rows(run)) == len(rows(alone.strip()))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("optimizer=lbfgs", "optimizer: 'lbfgs'"),
        ("training.clip_norm=1", "training.clip_norm"),
        ("training.accumulate=2", "training.accumulate"),
        ("training.amp=bf16", "training.amp"),
        ("training.on_nan=skip", "training.on_nan"),
        ("schedule=plateau", "schedule: 'plateau'"),
        ("transfer.freeze=none", "transfer"),
    ],
)
def test_what_can_not_be_done_for_many_is_refused(cnnrun: Command, change: str, key: str) -> None:
    Path("many.yaml").write_text(MLP)
    refused = cnnrun("train", "many.yaml", change, "--seeds", "2")
    assert refused.code == 2
    key = key if " " in key else f"{key}:"
    assert f"{key} does not work with many seeds at once; train them one by one" in refused.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("many.yaml", "--seeds", "few"), "'few' is neither a number nor a list"),
        (("many.yaml", "--seeds", "0"), "at least one seed is needed"),
        (("--resume", "runs/x", "--seeds", "2"), "--seeds starts new runs"),
        (("many.yaml", "--resume-or-start", "--seeds", "2"), "--seeds starts new runs"),
    ],
)
def test_wrong_usage(cnnrun: Command, arguments: tuple[str, ...], message: str) -> None:
    Path("many.yaml").write_text(MLP)
    ended = cnnrun("train", *arguments)
    assert ended.code == 2
    assert message in ended.err


OWN_MODEL = """\
import torch
from torch import nn
from cnnrun.registry import models

@models.register("branching")
class Branching(nn.Module):
    \"\"\"Looks at its values, as no stacked model can.\"\"\"

    def __init__(self, input_shape, num_classes) -> None:
        super().__init__()
        self.layer = nn.Linear(64, num_classes)

    def forward(self, images):
        images = images.flatten(1)
        return self.layer(images if images.sum() > 0 else -images)
"""


def test_a_model_that_looks_at_its_values(cnnrun: Command) -> None:
    Path("many.yaml").write_text(MLP)
    Path("own.py").write_text(OWN_MODEL)
    ended = cnnrun("train", "many.yaml", "model=branching", "--plugin", "own.py", "--seeds", "2")
    assert ended.code == 2, ended.err
    assert "model: can't be trained for many seeds at once (" in ended.err
    assert "one by one it can" in ended.err


def test_splits_of_different_sizes(cnnrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("many.yaml").write_text(MLP)
    from cnnrun.runner import train_seeds

    build = train_seeds.build

    def smaller(experiment: Any) -> Any:
        values = experiment.to_dict()
        values["dataset"]["limit"] = 100 - experiment.seed  # as many steps
        return build(from_dict(values, "test"))

    monkeypatch.setattr(train_seeds, "build", smaller)
    ended = cnnrun("train", "many.yaml", "--seeds", "2")
    assert ended.code == 1
    assert "seeds: their training splits differ in size (89, 90 images)" in ended.err
    assert not list(Path("runs").rglob("config.yaml"))


class TestStacked:
    def models(self) -> list[nn.Module]:
        return [
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 12))
            for _ in range(3)
        ]

    def test_models_go_on_to_work_by_themselves(self) -> None:
        models = self.models()
        stacked = StackedModels(models, torch.zeros(1, 1, 4, 4))
        inputs = torch.randn(3, 5, 1, 4, 4)
        apart = [model.train()(one) for model, one in zip(models, inputs, strict=True)]
        means = [model[1].running_mean.clone() for model in models]  # type: ignore[union-attr]
        with torch.no_grad():
            for buffer in stacked.buffers.values():
                buffer.zero_()
            stacked.buffers["1.running_var"].fill_(1)
        found = stacked.forward(inputs, {})
        torch.testing.assert_close(found, torch.stack(apart))
        torch.testing.assert_close(models[1][1].running_mean, means[1])  # type: ignore[index]
        assert int(models[2][1].num_batches_tracked) == 1  # type: ignore[index]

    def test_a_step_of_the_leaves_is_a_step_of_the_models(self) -> None:
        models = self.models()
        before = models[1][3].weight.detach().clone()  # type: ignore[index]
        stacked = StackedModels(models, torch.zeros(1, 1, 4, 4))
        with torch.no_grad():
            stacked.leaves["3.weight"][1, 2, 7] += 1.0  # from input 2 to unit 7
        expected = before
        expected[7, 2] += 1.0
        torch.testing.assert_close(models[1][3].weight, expected)  # type: ignore[index]

    def test_gradients_do_not_mix(self) -> None:
        stacked = StackedModels(self.models(), torch.zeros(1, 1, 4, 4))
        stacked.forward(torch.randn(3, 5, 1, 4, 4), {})[1].square().sum().backward()
        for leaf in stacked.leaves.values():
            assert leaf.grad is not None
            assert not leaf.grad[[0, 2]].any()
        last = stacked.leaves["3.weight"].grad
        assert last is not None
        assert last[1].any()


LAWS = {
    # The first seed's patience ends long before the others': its schedule stands still, theirs not.
    "patience": (MLP, "schedule=cosine", "training.epochs=8", "training.patience=2",
                 "optimizer.lr=0.3", "dataset.validation=40"),
    "warm-up and averages": (MLP, "schedule={name: step, epochs: 1, gamma: 0.5, warmup_epochs: 1}",
                             "training.ema=0.9", "training.epochs=5", "training.patience=1"),
    "mixed labels": (MLP, "dataset.augment=[{name: mixup}]", "loss={name: focal, gamma: 1.0}",
                     "schedule=one_cycle", "training.epochs=3"),
    # Seeds set other images aside for validation, so that their classes weigh differently.
    "weights": (CNN, "loss={name: cross_entropy, weight: balanced}", "dataset.limit=150",
                "dataset.validation=50"),
    "decay": (MLP, "optimizer={name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0.01, "
              "decoupled: true}", "schedule={name: multistep, milestones: [1]}"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_whatever_is_combined_each_seed_is_as_if_alone(cnnrun: Command, law: str) -> None:
    text, *changes = LAWS[law]
    Path("many.yaml").write_text(text)
    together = cnnrun("train", "many.yaml", *changes, "--seeds", "3", "-q")
    assert together.code == 0, together.err
    lengths = []
    for seed, run in enumerate(together.out.split()):
        alone = cnnrun("train", "many.yaml", *changes, f"seed={seed}", "output=alone", "-q")
        assert_alike(Path(run), Path(alone.out.strip()))
        lengths.append(len(rows(run)))
    if law == "patience":
        assert len(set(lengths)) > 1, "some seed stops before another"


OWN_LOSS = """\
import torch
import torch.nn.functional as F
from cnnrun.plugin import losses

@losses.register("{name}")
class Own(torch.nn.Module):
    \"\"\"Depends on its neighbours in the batch, and remembers what it saw.\"\"\"

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, outputs, targets):
        values = F.cross_entropy(outputs, targets, reduction="none")
        if self.training and outputs.requires_grad:
            self.seen += values.mean().detach() / 10
        return {value}
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hardest", "values * (values >= values.median()) * 2"),
        ("remembering", "values * (1 + self.seen)"),
        ("mean", "values.mean()"),
    ],
)
def test_a_users_loss_sees_one_seed_at_a_time(cnnrun: Command, name: str, value: str) -> None:
    Path("many.yaml").write_text(MLP)
    Path("own.py").write_text(OWN_LOSS.format(name=f"seeds_{name}", value=value))
    own = (f"loss=seeds_{name}", "plugins=[own.py]")
    together = cnnrun("train", "many.yaml", *own, "--seeds", "2", "-q")
    assert together.code == 0, together.err
    for seed, run in enumerate(together.out.split()):
        alone = cnnrun("train", "many.yaml", *own, f"seed={seed}", "output=alone", "-q")
        assert_alike(Path(run), Path(alone.out.strip()))


def test_a_schedule_that_looks_at_each_seeds_loss_is_refused(cnnrun: Command) -> None:
    Path("many.yaml").write_text(MLP)
    Path("own.py").write_text(
        "from cnnrun.plugin import Schedule, schedules\n\n\n"
        '@schedules.register("listening")\n'
        "class Listening(Schedule):\n"
        '    """Goes with the loss."""\n\n'
        "    current = 1.0\n\n"
        "    def factor(self, step):\n"
        "        return self.current\n\n"
        "    def observe(self, value):\n"
        "        self.current = value\n"
    )
    own = ("schedule=listening", "plugins=[own.py]")
    ended = cnnrun("train", "many.yaml", *own, "--seeds", "2", "-q")
    assert ended.code == 2
    assert "schedule: 'listening' does not work with many seeds at once" in ended.err


def test_a_stopped_seed_that_is_not_yet_tested_is_named_too(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its patience has ended, and only then the signal comes: all have an end to go on to."""
    Path("many.yaml").write_text(MLP)
    step = Seeds.train_step

    def step_and_stop(self: Seeds, number: int, *given: Any) -> None:
        self.trainers[0].progress.stopped_early = self.trainers[1].progress.step >= 5
        step(self, number, *given)
        if self.trainers[1].progress.step == 17:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Seeds, "train_step", step_and_stop)
    stopped = cnnrun("train", "many.yaml", "--seeds", "2", "-q")
    assert stopped.code == 130
    assert stopped.err.count("cnnrun train --resume runs/many/") == 2
