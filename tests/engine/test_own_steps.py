"""Training steps of a task's own: the examples, each as a run like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cnnrun import load_run
from cnnrun.engine.progress import Progress, ask_task
from cnnrun.errors import UserError
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import REPOSITORY, Command

CONFIG = """\
name: own
dataset: {name: digits, batch_size: 50, limit: 300, validation: 100}
model: {name: cnn, channels: [6], head: [16]}
optimizer: {name: adam, lr: 0.02}
device: cpu
training: {epochs: 3, draw: false}
"""

pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(CONFIG)


def file_of(example: str) -> str:
    return f"plugins=[{REPOSITORY / 'examples' / example}.py]"


def trained(cnnrun: Command, *changes: str) -> Path:
    ended = cnnrun("train", "own.yaml", "-q", *changes)
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def weights_of(run: Path) -> dict[str, Any]:
    return Checkpoint.load(run / "checkpoints/last.pt").model


# Each example with what switches its own part off.
IDLE = {
    "sam": "task={name: sam, rho: 0}",
    "adversarial": "task={name: adversarial, size: 0}",
    "activation_penalty": "task={name: sparse_activations, strength: 0}",
    "gradient_norms": "task={name: watched, flat: 0}",
    "distillation": "task={name: distill, teacher: TEACHER, share: 0}",
}
BUSY = {
    "sam": "task={name: sam, rho: 0.5}",
    "adversarial": "task={name: adversarial, size: 0.2}",
    "activation_penalty": "task={name: sparse_activations, strength: 1}",
    "gradient_norms": "task={name: watched, flat: 0}",
    "distillation": "task={name: distill, teacher: TEACHER}",
}


@pytest.mark.parametrize("example", IDLE)
def test_a_step_whose_own_part_is_off_is_the_plain_one_to_the_bit(
    cnnrun: Command, example: str
) -> None:
    plain = trained(cnnrun, "training.clip_norm=1")
    task = IDLE[example].replace("TEACHER", str(plain))
    run = trained(cnnrun, task, file_of(example), "training.clip_norm=1")
    rounded = example == "adversarial"  # to pixels and back
    close = {"rtol": 1e-3, "atol": 1e-4} if rounded else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(weights_of(run), weights_of(plain), **close)
    for ours, theirs in zip(load_run(run).metrics, load_run(plain).metrics, strict=True):
        ours.pop("gradient_norm", None)
        assert ours == (pytest.approx(theirs, rel=1e-3) if rounded else theirs)


@pytest.mark.parametrize("example", BUSY)
def test_a_step_of_ones_own_changes_what_is_learnt_and_resumes_to_the_same_bits(
    cnnrun: Command, example: str, killed_and_resumed: Callable[..., tuple[Path, Path]]
) -> None:
    plain = trained(cnnrun, "output=plain")
    changes = BUSY[example].replace("TEACHER", str(plain.resolve())), file_of(example)
    whole, cut = killed_and_resumed(7, "own.yaml", *changes)
    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(cut)[name]), name
    same = all(torch.equal(v, weights_of(plain)[name]) for name, v in weights_of(whole).items())
    assert same == (example == "gradient_norms")


def test_a_gan_has_two_optimizers_and_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]],
) -> None:
    changes = "task=gan", "model=gan", "dataset.normalize=none", file_of("gan")
    whole, cut = killed_and_resumed(7, "own.yaml", *changes, "schedule=cosine")
    ours, theirs = (Checkpoint.load(run / "checkpoints/last.pt") for run in (whole, cut))
    torch.testing.assert_close(ours.model, theirs.model, rtol=0, atol=0)
    torch.testing.assert_close(ours.optimizer, theirs.optimizer, rtol=0, atol=0)
    groups = ours.optimizer["param_groups"]
    assert [group["initial_lr"] for group in groups] == [0.02, 0.002]
    steps = {float(state["step"]) for state in ours.optimizer["state"].values()}
    assert steps == {ours.progress["step"]}
    assert len(ours.optimizer["state"]) == 8


@pytest.mark.slow
def test_a_gan_makes_images_like_those_of_the_data(cnnrun: Command) -> None:
    changes = "task=gan", "model=gan", file_of("gan")
    run = trained(
        cnnrun,
        *changes,
        "training.epochs=20",
        "dataset={name: digits, batch_size: 32, normalize: none}",
        "optimizer={name: adam, lr: 0.002, beta1: 0.5}",
        "schedule=cosine",
    )
    example = str(REPOSITORY / "examples" / "gan.py")
    _, parts, _ = open_checkpoint(run / "checkpoints/last.pt", plugins=[example])
    torch.manual_seed(0)
    model: Any = parts.model
    with torch.no_grad():
        made = model.generator(torch.randn(200, model.code))
    real = parts.dataset.train.images[torch.arange(200)].float() / 255
    untrained = torch.full_like(real, 0.5)
    gap = (made.mean(0) - real.mean(0)).abs().mean()
    assert gap < 0.5 * (untrained.mean(0) - real.mean(0)).abs().mean()
    assert made.std(0).mean() > 0.5 * real.std(0).mean()  # not one image for all noise


def test_a_rule_of_ones_own_ends_training_with_test_scores(cnnrun: Command) -> None:
    rule = "task={name: watched, flat: 1000}"
    ended = cnnrun("train", "own.yaml", rule, file_of("gradient_norms"))
    assert ended.code == 0, ended.err
    assert "training ends after epoch 1: the loss is flat" in ended.err
    [run] = Path("runs/own").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["epochs"] == 1
    assert summary["stopped_early"]
    assert summary["test"]["accuracy"] > 0
    [row] = load_run(run).metrics
    assert row["gradient_norm"] > 0
    again = cnnrun("train", "--resume", run)
    assert again.code == 0
    assert load_run(run).summary["epochs"] == 1


@pytest.mark.slow
def test_what_is_learnt_without_labels_serves_a_linear_probe(cnnrun: Command) -> None:
    longer = "training.epochs=15", "dataset.limit=1000"
    body = trained(cnnrun, "task=contrastive", file_of("contrastive"), *longer, "output=body")
    probe = f"transfer={{weights: {body}, freeze: features}}"
    learned = trained(cnnrun, probe, *longer, "output=probe")
    assert load_run(learned).summary["test"]["accuracy"] > 0.6


def test_a_contrastive_run_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]],
) -> None:
    whole, cut = killed_and_resumed(7, "own.yaml", "task=contrastive", file_of("contrastive"))
    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(cut)[name]), name


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("training.accumulate=2", "training.accumulate"),
        ("training.auto_batch=true", "training.auto_batch"),
        ("training.compile=true", "training.compile"),
        ("training.on_nan=skip", "training.on_nan"),
        ("training.amp=fp16", "training.amp"),
        ("optimizer=lbfgs", "optimizer"),
    ],
)
def test_what_knows_nothing_of_an_own_step_is_refused(
    cnnrun: Command, change: str, place: str
) -> None:
    ended = cnnrun("train", "own.yaml", "task=sam", file_of("sam"), change)
    assert ended.code == 2
    assert f"{place}: does not go with task sam, which has its own training step" in ended.err
    assert not list(Path().glob("runs/*/*/checkpoints/*.pt"))


TASK = """\
import torch
from cnnrun.plugin import Classify, Task, tasks

@tasks.register("odd")
class Odd(Classify):
    "A step with a mistake."
    def train_step(self, step):
        losses, outputs = step.forward()
        step.backward(losses)
        {body}
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("step.update()", "the task 'odd' called `step.record` never in `train_step`"),
        ("step.record(losses, outputs); step.record(losses, outputs)", "2 times in `train_step`"),
        ("step.record(losses.mean(), outputs)", "recorded losses of the shape ()"),
        ("step.update('judge')", "step.update('judge'): the task's optimizers are"),
    ],
)
def test_a_mistake_in_a_step_is_told(cnnrun: Command, body: str, told: str) -> None:
    Path("odd.py").write_text(TASK.format(body=body))
    ended = cnnrun("train", "own.yaml", "task=odd", "plugins=[odd.py]")
    assert ended.code != 0
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_frozen_body_shows_a_step_of_ones_own_the_images(cnnrun: Command) -> None:
    """Not features that were computed once, which an attack on pixels could do nothing with."""
    body = trained(cnnrun, "output=body")
    run = trained(
        cnnrun,
        f"transfer={{weights: {body}, freeze: features}}",
        "task=adversarial",
        file_of("adversarial"),
    )
    assert load_run(run).summary["test"]["accuracy"] > 0.3


def test_a_figure_that_the_log_has_already_is_refused() -> None:
    task: Any = SimpleNamespace(epoch_figures=lambda: {"train_loss": 1.0})
    told = "epoch_figures gives train_loss, which the log has already"
    with pytest.raises(UserError, match=told):
        ask_task(task, {"train_loss": 0.5}, Progress())
