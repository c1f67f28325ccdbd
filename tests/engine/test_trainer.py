"""The loop: what it computes, when it stops, what it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnrun.config.experiment import load
from cnnrun.data.sources.digits import digits
from cnnrun.engine.build import build
from cnnrun.engine.trainer import Trainer
from cnnrun.runner import train
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.interrupt import StopRequest
from cnnrun.runtime.randomness import derive_seed, shuffled
from tests.conftest import Command


def _rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_loop_is_plain_sgd(tiny: Path, tmp_path: Path) -> None:
    """Two epochs against the same thing written out by hand with torch alone."""
    experiment = load(
        tiny, ["model.dropout=0.0", "dataset.validation=0", "optimizer.momentum=0.0",
               "dataset.normalize=half", "initializer=zeros", f"output={tmp_path}"],
    )  # fmt: skip
    run = train(experiment, quiet=True)
    ours = torch.load(run.checkpoint("last"), weights_only=True)["model"]

    data = digits().train
    images = (torch.as_tensor(data.images[torch.arange(len(data))]).float() / 255 - 0.5) / 0.5
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        total = 0.0
        for chosen in shuffled(len(data), 0, epoch).split(64):
            loss = F.cross_entropy(model(images[chosen]), data.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        assert _rows(run.path)[epoch]["train_loss"] == pytest.approx(total / len(data), rel=1e-5)
    for value, expected in zip(ours.values(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_early_stopping_keeps_the_best(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "-q", "training.epochs=50", "training.patience=2",
                   "training.monitor=loss", "optimizer.lr=0.5")  # fmt: skip
    run = Path(ended.out.strip())
    summary = json.loads((run / "summary.json").read_text())
    rows = _rows(run)
    losses = [row["validation_loss"] for row in rows]
    assert summary["stopped_early"]
    assert len(rows) < 50
    assert summary["best_epoch"] == losses.index(min(losses)) + 1 == len(rows) - 2
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    assert best["progress"]["epoch"] == summary["best_epoch"]


def test_without_validation_the_last_epoch_is_the_best(cnnrun: Command, tiny: Path) -> None:
    run = Path(cnnrun("train", tiny, "-q", "dataset.validation=0").out.strip())
    assert json.loads((run / "summary.json").read_text())["best_epoch"] == 2
    assert "validation_loss" not in _rows(run)[0]


def test_a_loss_that_is_no_number_stops_the_run(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "optimizer.lr=1e30", "training.epochs=5")
    assert ended.code == 1
    assert "the loss is" in ended.err
    assert "learning rate 1e+30" in ended.err
    (run,) = Path("runs/tiny").iterdir()
    for file in (run / "checkpoints").iterdir():
        weights = torch.load(file, weights_only=True)["model"].values()
        assert all(torch.isfinite(w).all() for w in weights)


@pytest.mark.parametrize("batch_size", [1, 16, 5000])
def test_any_batch_size_trains_with_batch_norm(
    cnnrun: Command, tiny: Path, batch_size: int
) -> None:
    """17 images: batches of 16 leave one over; 5,000 is more than there are; 1 is each alone."""
    ended = cnnrun(
        "train", tiny, "-q", f"dataset.batch_size={batch_size}", "dataset.limit=17",
        "dataset.validation=0", "model={name: cnn, channels: [4], batch_norm: true}",
    )  # fmt: skip
    assert ended.code == 0, ended.err


def test_learning_rate_in_the_log_is_the_one_used(cnnrun: Command, tiny: Path) -> None:
    schedule = "schedule={name: step, epochs: 2, gamma: 0.1, warmup_epochs: 1}"
    run = Path(cnnrun("train", tiny, "-q", schedule, "training.epochs=5").out.strip())
    steps = _rows(run)[0]["step"]
    rates = [row["lr"] for row in _rows(run)]
    assert rates == pytest.approx([0.1 / steps, 0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize("label", [2, -1])
def test_labels_that_are_no_class_are_told_before_training(
    cnnrun: Command, tiny: Path, tmp_path: Path, label: int
) -> None:
    name = f"wrong_label_{label + 1}"
    (tmp_path / f"{name}.py").write_text(
        "import torch\n"
        "from cnnrun.data.dataset import Dataset, Split\n"
        "from cnnrun.registry import datasets\n\n\n"
        f'@datasets.register("{name}")\n'
        f"def {name}():\n"
        '    """Data with a label too many."""\n'
        "    images = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)\n"
        "    labels = torch.tensor([0, 1] * 10)\n"
        "    test = labels.clone()\n"
        f"    test[7] = {label}\n"
        "    return Dataset(('cat', 'dog'), Split(images, labels), Split(images, test))\n"
    )
    ended = cnnrun("train", tiny, f"plugins=[{name}.py]", f"dataset={{name: {name}}}")
    assert ended.code == 2
    assert f"the test split has the label {label}, but there are 2 classes (cat, dog)" in ended.err
    assert not Path("runs").exists()


def test_a_device_that_is_not_there_is_told_before_training(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "device=cuda")
    assert ended.code == 1
    assert "device cuda: no such GPU here" in ended.err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_missing_data_set_without_network(shell: Command, tiny: Path, tmp_path: Path) -> None:
    """No address can be reached: one message, no traceback, nothing left behind."""
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    for name in ("mnist", "cifar10"):
        ended = shell(f"cnnrun train {tiny} dataset='{{name: {name}, root: new}}'", **proxy)
        assert ended.code == 1
        assert "could not be downloaded" in ended.err
        assert "put these files into new/" in ended.err
        assert "`dataset: digits` is real data that is already here" in ended.err
        assert "Traceback" not in ended.err
        assert not (tmp_path / "new").exists()
    ended = shell(f"cnnrun train {tiny} dataset='{{name: mnist, root: new, download: false}}'")
    assert "and download is false" in ended.err


def test_a_users_own_loss(cnnrun: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from cnnrun.registry import losses\n"
        '@losses.register("trained_on")\n'
        "class Mine(torch.nn.Module):\n"
        '    """Returns its mean, as most tutorials do."""\n'
        "    def __init__(self, num_classes, *, scale: float = 1.0):\n"
        "        super().__init__()\n"
        "        self.scale = scale\n"
        "    def forward(self, outputs, targets):\n"
        "        return self.scale * torch.nn.functional.cross_entropy(outputs, targets)\n"
    )
    plain = Path(cnnrun("train", tiny, "-q").out.strip())
    ended = cnnrun("train", tiny, "-q", "plugins=[mine.py]", "loss={name: trained_on, scale: 1.0}")
    run = Path(ended.out.strip())
    assert [r["train_loss"] for r in _rows(run)] == pytest.approx(
        [r["train_loss"] for r in _rows(plain)], rel=1e-5
    )
    refused = cnnrun("eval", run)
    assert "--plugin mine.py" in refused.err
    assert cnnrun("eval", run, "--plugin", "mine.py").code == 0
    (tmp_path / "broken.py").write_text("x = 1\ny = undefined\n")
    ended = cnnrun("train", tiny, "plugins=[broken.py]")
    assert ended.code == 2
    assert "broken.py:2: NameError" in ended.err


def test_streams_of_different_purposes_and_steps_are_unrelated() -> None:
    seeds = {
        derive_seed(seed, purpose, step)
        for seed in range(5)
        for purpose in ("augment", "forward", "shuffle")
        for step in range(200)
    }
    assert len(seeds) == 5 * 3 * 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Fixed for ever: a checkpoint of today resumes with the numbers of tomorrow.
    assert derive_seed(0, "augment", 1) == derive_seed(0, "augment", 1)
    assert derive_seed(0, "augment", 1, 0) != derive_seed(0, "augment", 1)


@pytest.mark.slow
def test_a_killed_run_goes_on_from_between_epochs(
    killed_and_resumed: Callable[..., tuple[Path, Path]], tiny: Path
) -> None:
    """Killed in the middle of its only, long epoch; the resumed run equals a whole one."""
    runs = killed_and_resumed(50, tiny, "training.epochs=1", "dataset.batch_size=16")
    first, second = (
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"] for run in runs
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_checkpoints_by_the_clock(tiny: Path, tmp_path: Path) -> None:
    """`60 seconds` is due when they have passed since the last one, and not before."""
    parts = build(load(tiny, ["training.checkpoint_every=60 seconds"]))
    trainer = Trainer(parts, RunDirectory(tmp_path), StopRequest())
    assert not trainer.timer.due(1)
    trainer.timer.last -= 61
    assert trainer.timer.due(1)


def test_a_damaged_last_checkpoint_is_told_and_the_best_one_serves(
    cnnrun: Command, tiny: Path
) -> None:
    whole = Path(cnnrun("train", tiny, "-q", "training.epochs=3").out.strip())
    run = Path(cnnrun("train", tiny, "-q", "training.epochs=3").out.strip())
    (run / "summary.json").unlink()
    last = run / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    ended = cnnrun("train", "--resume", run)
    assert ended.code == 0, ended.err
    assert "last.pt: not a readable checkpoint" in ended.err
    assert "resuming from" in ended.err
    assert _rows(run) == _rows(whole)
