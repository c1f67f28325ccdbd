"""Own steps, averages, samplers, folds and imported weights meet processes, seeds and resuming.

Each works as in one process that nobody stopped, or is refused in one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnrun import api
from cnnrun.engine.trainer import Trainer
from cnnrun.evaluation.importing import import_network
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import REPOSITORY, Command, quick_ones
from tests.forking import together

# 202 training images: five batches an epoch, the last of 22; 101 validation images.
CONFIG = """\
name: own
dataset: {name: digits, batch_size: 45, limit: 303, validation: 101}
model: {name: cnn, channels: [6], head: [16]}
optimizer: {name: adam, lr: 0.02}
device: cpu
training: {epochs: 2, draw: false}
"""


@dataclass(frozen=True)
class Subject:
    """What is added to the config, and the file in `examples/` that it needs."""

    changes: tuple[str, ...]
    example: str = ""


SUBJECTS = {
    "activation_penalty": Subject(
        ("task={name: sparse_activations, strength: 1}",), "activation_penalty"
    ),
    "adversarial": Subject(("task={name: adversarial, size: 0.2}",), "adversarial"),
    "contrastive": Subject(("task=contrastive",), "contrastive"),
    "distillation": Subject(("task={name: distill, teacher: TEACHER}",), "distillation"),
    "gan": Subject(("task=gan", "model=gan", "dataset.normalize=none"), "gan"),
    "gradient_norms": Subject(("task={name: watched, flat: 0}",), "gradient_norms"),
    "sam": Subject(("task={name: sam, rho: 0.5}",), "sam"),
    "swa": Subject(("training.swa=0.5",)),
    "balanced": Subject(("dataset.sampler=balanced",)),
    "weights": Subject(("dataset.sampler=[9,1,1,1,1,1,1,1,1,0]",)),
    "fold": Subject(("dataset.fold=2/3", "dataset.stratify=true")),
    "imported": Subject(("transfer={weights: IMPORTED}",)),
    "imported_teacher": Subject(("task={name: distill, teacher: IMPORTED}",), "distillation"),
}
# The losses of its images depend on one another.
WHOLE_BATCHES = ("contrastive",)
MANY_SEEDS = ("balanced", "weights", "fold")
# They classify nothing.
NO_ANSWERS = ("contrastive", "gan")

every_subject = pytest.mark.parametrize("subject", SUBJECTS)
DIVIDED = [name for name in SUBJECTS if name not in WHOLE_BATCHES]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TEACHER, a run, and IMPORTED, a checkpoint of its weights as `cnnrun import` makes it."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "own.yaml").write_text(CONFIG)
    run = api.train(folder / "own.yaml", f"output={folder}").path
    held = Checkpoint.load(run / "checkpoints" / "best.pt")
    torch.save(held.model, folder / "weights.pth")
    (folder / "names.txt").write_text("\n".join(held.classes))
    model = ("model={name: cnn, channels: [6], head: [16]}", "dataset.size=8")
    changes = (*model, "dataset.channels=gray", "dataset.normalize=half")
    weights, names = str(folder / "weights.pth"), folder / "names.txt"
    import_network("cnn", weights, names, overrides=changes).checkpoint.save(folder / "imported.pt")
    return {"TEACHER": run, "IMPORTED": folder / "imported.pt"}


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(CONFIG)


Arguments = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def arguments(networks: dict[str, Path]) -> Arguments:
    """`arguments(subject)`: what follows `cnnrun train`."""

    def of(name: str) -> list[str]:
        changes = " ; ".join(SUBJECTS[name].changes)
        for word, path in networks.items():
            changes = changes.replace(word, str(path))
        return ["own.yaml", *changes.split(" ; "), *plugin_of(name)]

    return of


@pytest.fixture(scope="module")
def alone(arguments: Arguments, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`alone(subject)`: the run of one process with `equal_draws`, trained once."""
    known: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            (folder / "own.yaml").write_text(CONFIG)
            _, *changes = arguments(name)
            plugins = [text.partition("=")[2] for text in plugin_of(name)]
            with equal_draws():
                known[name] = api.train(
                    folder / "own.yaml",
                    *[change for change in changes if not change.startswith("--")],
                    "training.clip_norm=1",
                    f"output={folder}",
                    plugins=plugins,
                ).path
        return known[name]

    return run


def plugin_of(name: str) -> list[str]:
    example = SUBJECTS[name].example
    return [f"--plugin={REPOSITORY / 'examples' / example}.py"] if example else []


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def scores_of(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "summary.json").read_text())["test"]
    return found


def weights_of(run: Path) -> dict[str, Any]:
    return Checkpoint.load(run / "checkpoints" / "last.pt").model


def trained(cnnrun: Command, *arguments: str) -> Path:
    ended = cnnrun("train", *arguments, "-q")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def trained_by_two(*arguments: str) -> Path:
    ended = together(2, "train", *arguments, "-q")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


@contextmanager
def equal_draws() -> Iterator[None]:
    """Each image gets the same random numbers, as those of two processes are not those of one."""

    def rand_like(of: torch.Tensor) -> torch.Tensor:
        return torch.linspace(0, 1, of[0].numel()).view_as(of[:1]).expand_as(of)

    def randn(count: int, size: int, **_: Any) -> torch.Tensor:
        return torch.linspace(-1, 1, size).expand(count, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand_like", rand_like)
        patch.setattr(torch, "randn", randn)
        yield


@pytest.mark.parametrize("subject", quick_ones(DIVIDED, "sam", "swa"))
def test_two_processes_compute_what_one_does(
    arguments: Arguments, alone: Callable[[str], Path], subject: str
) -> None:
    with equal_draws():
        two = trained_by_two(*arguments(subject), "training.clip_norm=1")
    for ours, theirs in zip(rows_of(two), rows_of(alone(subject)), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert scores_of(two) == pytest.approx(scores_of(alone(subject)), rel=1e-3)


@pytest.mark.parametrize("subject", quick_ones(DIVIDED, "gradient_norms"))
def test_two_processes_that_were_killed_go_on_to_the_same_bits(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    """After step 8, the third of the second epoch, with draws of their own in each process."""
    whole = trained_by_two(*arguments(subject), "output=whole")
    step = Trainer.train_step

    def step_or_die(self: Trainer, *batch: Any) -> None:
        if self.progress.step == 9:
            raise KeyboardInterrupt
        step(self, *batch)

    with monkeypatch.context() as killing:
        killing.setattr(Trainer, "train_step", step_or_die)
        often = "training.checkpoint_every=8 steps"
        assert together(2, "train", *arguments(subject), often, "-q", "output=cut").code == 130
    [cut] = Path("cut/own").iterdir()
    assert Checkpoint.load(cut / "checkpoints" / "last.pt").progress["step"] == 8
    ended = together(2, "train", "--resume", cut, "-q", *plugin_of(subject))
    assert ended.code == 0, ended.err
    assert rows_of(cut) == rows_of(whole)
    torch.testing.assert_close(weights_of(cut), weights_of(whole), rtol=0, atol=0)


@every_subject
def test_many_seeds_are_each_as_if_alone_or_refused(
    cnnrun: Command, arguments: Arguments, subject: str
) -> None:
    ended = cnnrun("train", *arguments(subject), "--seeds", "3,4", "-q")
    if subject not in MANY_SEEDS:
        assert ended.code == 2
        assert "does not work with many seeds at once; train them one by one" in ended.err
        assert ended.err.count("\n") == 1
        return
    assert ended.code == 0, ended.err
    for seed, run in zip((3, 4), map(Path, ended.out.split()), strict=True):
        alone = trained(cnnrun, *arguments(subject), f"seed={seed}", "output=alone")
        for ours, theirs in zip(rows_of(run), rows_of(alone), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("subject", ["balanced", "weights", "fold", "imported", "imported_teacher"])
def test_one_process_that_was_killed_goes_on_to_the_same_bits(
    arguments: Arguments,
    killed_and_resumed: Callable[..., tuple[Path, Path]],
    subject: str,
) -> None:
    """The other subjects: tests of own steps and of averaged weights."""
    whole, cut = killed_and_resumed(8, *arguments(subject))
    torch.testing.assert_close(weights_of(cut), weights_of(whole), rtol=0, atol=0)


@every_subject
def test_its_network_answers_from_python_or_has_no_answer(
    cnnrun: Command, alone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    """Also in a process that torchrun started, which waits for no other one."""
    run = alone(subject)
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    plugins = [text.partition("=")[2] for text in plugin_of(subject)]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    model = api.load_model(run, plugins=plugins, device="cpu")
    if subject in NO_ANSWERS:
        with pytest.raises(api.UserError, match="has no answer for single images"):
            model.predict(image)
        ended = cnnrun("predict", run, "x.png", *plugin_of(subject))
        assert ended.code == 1
        assert ended.err.count("\n") == 1
        return
    [[(best, share), *_]] = model.predict([image])
    assert best in map(str, range(10))
    assert 0.1 < share <= 1


@pytest.mark.parametrize(
    "divides", ["two processes", "training.accumulate=2", "training.auto_batch=true"]
)
def test_a_batch_whose_images_are_compared_is_not_divided(
    cnnrun: Command, arguments: Arguments, divides: str
) -> None:
    if divides == "two processes":
        ended, told = together(2, "train", *arguments("contrastive"), "-q"), "2 processes"
    else:
        ended = cnnrun("train", *arguments("contrastive"), divides, "-q")
        told = divides.partition("=")[0]
    assert ended.code == 2
    assert "task: the loss of an image of contrastive depends on the others of its batch" in (
        ended.err
    )
    assert f"{told}, which divide" in ended.err
    assert not list(Path().glob("runs/*/*/checkpoints/*.pt"))


HALF_LABELLED = """\
import torch
from cnnrun.plugin import Classify, tasks

@tasks.register("half_labelled")
class HalfLabelled(Classify):
    "Labels of one class alone are looked at, and features kept small: many parts have no label."

    def train_step(self, step):
        losses, outputs = step.forward()
        features = step.model.features(step.inputs).flatten(1).square().mean(1)
        known = step.targets == 3
        loss = features + torch.where(known, losses, 0) if known.any() else features
        step.minimize(loss)
        step.record(losses, outputs)

    def epoch_figures(self):
        import os
        return {"rank": float(os.environ.get("RANK", 0.5))}
"""


def test_processes_without_some_gradients_stay_together(cnnrun: Command) -> None:
    """The one whose part of a batch reaches no head steps it as the other does."""
    Path("half.py").write_text(HALF_LABELLED)
    changes = "own.yaml", "task=half_labelled", "dataset.batch_size=12", "--plugin=half.py"
    sgd = "optimizer={name: sgd, lr: 0.1}"
    alone = trained(cnnrun, *changes, sgd, "output=one")
    two = trained_by_two(*changes, sgd, "output=two")
    for ours, theirs in zip(rows_of(two), rows_of(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert ours["rank"] == 0.5, "a figure is its mean over the processes"
    torch.testing.assert_close(weights_of(two), weights_of(alone), rtol=1e-3, atol=1e-5)
