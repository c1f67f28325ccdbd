"""The command, as a user and a shell script run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import CONFIGS, Command, thorough_only
from tests.data.test_splits_and_batches import write_cifar10


def _weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
    weights: dict[str, torch.Tensor] = content["model"]
    return weights


@pytest.mark.slow
def test_digits_train_eval_and_json_in_the_shell(shell: Command) -> None:
    ended = shell(
        f"RUN=$(cnnrun train {CONFIGS}/digits_cnn.yaml training.epochs=8 -q) && "
        'cnnrun eval "$RUN" --json | python -m json.tool > scores.json && '
        'echo "$RUN" && cat scores.json'
    )
    assert ended.code == 0, ended.err
    run, _, scores_text = ended.out.partition("\n")
    assert run.startswith("runs/digits_cnn/")
    scores = json.loads(scores_text)
    assert scores["accuracy"] > 0.97
    assert {"split", "accuracy", "loss", "top5", "per_class", "confusion", "ece"} <= scores.keys()
    assert scores["split"] == "test"
    assert np.sum(scores["confusion"]) == scores["samples"] == 360


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "floor"),
    [("mnist_mlp", 0.94), pytest.param("mnist_cnn", 0.97, marks=thorough_only)],
)
def test_mnist_reaches_its_accuracy(
    shell: Command, mnist_root: Path, config: str, floor: float
) -> None:
    ended = shell(f"cnnrun train {CONFIGS}/{config}.yaml dataset.root={mnist_root} --json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["test"]["accuracy"] > floor


def test_run_directory_is_whole(cnnrun: Command, tiny: Path, tmp_path: Path) -> None:
    ended = cnnrun("train", tiny, "training.draw=true")
    assert ended.code == 0, ended.err
    run = tmp_path / ended.out.splitlines()[0].split()[1]
    names = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    assert names == {
        "config.yaml", "environment.json", "metrics.jsonl", "summary.json",
        "checkpoints/best.pt", "checkpoints/last.pt",
        "plots/samples.png", "plots/curves.png", "plots/confusion.png", "plots/mistakes.png",
    }  # fmt: skip
    for plot in (run / "plots").iterdir():
        pixels = np.asarray(Image.open(plot).convert("RGB"))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    summary = json.loads((run / "summary.json").read_text())
    assert f"{100 * summary['test']['accuracy']:.2f} %" in ended.out
    assert "epoch 1/2" in ended.err
    # The run's own config repeats the run.
    again = cnnrun("train", run / "config.yaml", "training.draw=false", "-q")
    other = tmp_path / again.out.strip()
    assert other.parent == run.parent
    assert (other / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()


def test_same_seed_same_bits_in_two_processes(shell: Command, tiny: Path, tmp_path: Path) -> None:
    augmented = "dataset.augment='[{name: rotation, degrees: 10}, cutout]'"
    ended = shell(
        f"cnnrun train {tiny} -q {augmented} & cnnrun train {tiny} -q {augmented} & "
        f"cnnrun train {tiny} -q {augmented} seed=1 & wait"
    )
    runs = [tmp_path / line for line in ended.out.split()]
    assert len(set(runs)) == 3, ended.err
    by_seed: dict[int, list[Path]] = {}
    for run in runs:
        by_seed.setdefault(json.loads((run / "summary.json").read_text())["seed"], []).append(run)
    one, two = by_seed[0]
    (three,) = by_seed[1]
    assert (one / "metrics.jsonl").read_text() == (two / "metrics.jsonl").read_text()
    assert (one / "metrics.jsonl").read_text() != (three / "metrics.jsonl").read_text()
    assert all(
        torch.equal(a, b) for a, b in zip(*(_weights(r).values() for r in (one, two)), strict=True)
    )


def test_four_runs_in_parallel_each_have_their_directory(shell: Command, tmp_path: Path) -> None:
    ended = shell(
        "for lr in 0.1 0.01 0.001 0.0001; do "
        f"cnnrun train {CONFIGS}/digits_cnn.yaml optimizer.lr=$lr training.epochs=1 "
        "training.draw=false -q & done; wait"
    )
    runs = ended.out.split()
    assert len(set(runs)) == 4, ended.err
    for run in runs:
        assert (tmp_path / run / "summary.json").is_file()


def test_cifar10_config_passes_check_and_leaves_nothing(cnnrun: Command, tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar" / "cifar-10-batches-py")
    before = sorted(tmp_path.rglob("*"))
    ended = cnnrun("check", CONFIGS / "cifar10_cnn.yaml", f"dataset.root={tmp_path / 'cifar'}")
    assert ended.code == 0, ended.err
    assert "3 x 32 x 32" in ended.out
    assert sorted(tmp_path.rglob("*")) == before


# The keyboard's signal comes after the third epoch, however busy the machine is.
CTRL_C = """\
import os, signal
from pathlib import Path
from cnnrun.plugin import Logger, loggers

@loggers.register("ctrl_c")
class CtrlC(Logger):
    def start(self, run, config, known):
        return {}

    def epoch(self, row):
        if row["epoch"] == 3 and Path("press").exists():
            Path("press").unlink()
            os.kill(os.getpid(), signal.SIGINT)

    def plot(self, name, file):
        pass

    def end(self, summary):
        pass
"""


def test_interrupt_and_resume_end_at_the_same_bits(
    shell: Command, tiny: Path, tmp_path: Path
) -> None:
    """Ctrl-C while training; the resumed run equals one that was never stopped."""
    (tmp_path / "ctrl_c.py").write_text(CTRL_C)
    plugged = f"plugins=[{tmp_path}/ctrl_c.py] loggers=[ctrl_c]"
    train = f"cnnrun train {tiny} {plugged} training.epochs=9 -q"
    ended = shell(f"{train} output=whole")
    assert ended.code == 0, ended.err
    (whole,) = (tmp_path / "whole" / "tiny").iterdir()
    (tmp_path / "press").touch()
    stopped = shell(f"{train} output=cut")
    assert stopped.code == 130, stopped.err
    (cut,) = (tmp_path / "cut" / "tiny").iterdir()
    assert f"cnnrun train --resume cut/tiny/{cut.name}" in stopped.err
    assert 3 <= len((cut / "metrics.jsonl").read_text().splitlines()) < 9
    resumed = shell(f"cnnrun train --resume cut/tiny/{cut.name} -q")
    assert resumed.code == 0, resumed.err
    assert (cut / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    for name in ("last", "best"):
        for key, value in _weights(whole, name).items():
            assert torch.equal(value, _weights(cut, name)[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://nope", "TkAgg"])
def test_plots_need_no_display(installed_shell: Command, tiny: Path, backend: str) -> None:
    ended = installed_shell(
        f"env -u DISPLAY HOME=/nonexistent MPLBACKEND={backend} "
        f"cnnrun train {tiny} training.epochs=1 training.draw=true"
    )
    assert ended.code == 0, ended.err
    assert "plots/" in ended.out
    assert "was not drawn" not in ended.err


def test_help_says_the_same_in_any_width(cnnrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for width in ("50", "60", "120"):
        monkeypatch.setenv("COLUMNS", width)
        said.append(cnnrun("-h").out.split())
    assert said[0] == said[1] == said[2]
    assert "directory." in said[0], "the end of a long summary"


@pytest.mark.slow
def test_help_is_quick_and_complete(installed_shell: Command) -> None:
    ended = installed_shell(
        "cnnrun --help; for c in train eval check viz list; do cnnrun $c --help || exit 9; done"
    )
    assert ended.code == 0
    for word in ("train", "eval", "check", "viz", "list", "--debug", "--resume"):
        assert word in ended.out
