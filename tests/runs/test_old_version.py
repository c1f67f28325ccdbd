"""Runs, sweeps and studies that an earlier version left are opened, continued and reused.

`old_version.tar.xz` is what version 0.1.0 of November 2026 wrote (before `picture` was called
`image`): a classifier, an autoencoder and a stylized picture of two epochs each, a sweep of two
trials and a study of two variants and two seeds, with their YAML files.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from cnnrun.comparison import find_runs
from tests.conftest import Command, Result
from tests.small_run import write_test_images

ARCHIVE = Path(__file__).with_name("old_version.tar.xz")
TASKS = ("classify", "reconstruct", "stylize")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder that it worked in; `cnnrun` works there, too."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def run_of(old: Path, task: str) -> Path:
    (run,) = (old / "runs" / task).iterdir()
    return run


def succeeded(ended: Result) -> str:
    assert ended.code == 0, ended.err
    return ended.out


@pytest.mark.parametrize(("task", "metric"), [("classify", "accuracy"), ("reconstruct", "mse")])
def test_a_checkpoint_has_the_scores_that_it_had(
    cnnrun: Command, old: Path, task: str, metric: str
) -> None:
    run = run_of(old, task)
    then = json.loads((run / "summary.json").read_text())["test"]
    now = json.loads(succeeded(cnnrun("eval", run, "--json")))
    assert now[metric] == pytest.approx(then[metric], rel=1e-4)
    assert now["loss"] == pytest.approx(then["loss"], rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_a_run_goes_on(cnnrun: Command, old: Path, task: str) -> None:
    run = run_of(old, task)
    log = (run / "metrics.jsonl").read_text()
    succeeded(cnnrun("train", "--resume", run, "training.epochs=3", "-q"))
    longer = (run / "metrics.jsonl").read_text()
    assert longer.startswith(log)
    assert [json.loads(line)["epoch"] for line in longer.splitlines()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("task", "plot"), [("classify", "confusion"), ("reconstruct", "curves"), ("stylize", "style")]
)
def test_a_run_is_drawn(cnnrun: Command, old: Path, task: str, plot: str) -> None:
    succeeded(cnnrun("viz", plot, run_of(old, task), "-o", "x.png"))
    assert (old / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_classifier_predicts(cnnrun: Command, old: Path) -> None:
    write_test_images(old / "images", 2)
    found = json.loads(succeeded(cnnrun("predict", run_of(old, "classify"), "images", "--json")))
    assert [len(row["top"]) for row in found["predictions"]] == [5, 5]


def test_all_runs_are_listed_and_compared(cnnrun: Command, old: Path) -> None:
    listed = succeeded(cnnrun("runs", "."))
    assert all(str(run.path.name) in listed for run in find_runs([old]))
    compared = succeeded(cnnrun("compare", "studies/widths/runs"))
    assert "model.hidden" in compared
    assert "12.64 %" in compared


def test_a_sweep_and_a_study_train_nothing_anew(
    cnnrun: Command, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", refuse)
    before = {run.path for run in find_runs([old])}
    assert "25.00 %" in succeeded(cnnrun("sweep", "sweep.yaml"))
    assert "16.11 %" in succeeded(cnnrun("study", "study.yaml"))
    assert {run.path for run in find_runs([old])} == before


def test_the_same_experiment_is_found_finished(cnnrun: Command, old: Path) -> None:
    for task in ("classify", "stylize"):
        out = succeeded(cnnrun("train", "--resume-or-start", f"{task}.yaml", "-q"))
        assert out.strip() == f"runs/{task}/{run_of(old, task).name}"
