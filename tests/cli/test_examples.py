"""The examples of components of one's own do what they say; installed plug-ins are found."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, top_k_accuracy_score

from cnnrun import load_run
from cnnrun.components.tasks.metrics import softmax
from cnnrun.config import plugins
from cnnrun.config.plugins import load_plugins
from cnnrun.evaluation import scoring as evaluation
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.registry import KINDS, losses
from tests.conftest import REPOSITORY, Command
from tests.small_run import CONFIG

_IMPORTED = re.compile(r"^from (cnnrun[\w.]*) import", re.MULTILINE)
EXAMPLES = sorted((REPOSITORY / "examples").glob("my_*.py"))

pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")


@pytest.fixture(autouse=True)
def _config(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG)


def _train(cnnrun: Command, example: str, *overrides: str) -> tuple[Path, str]:
    """A run with an example, and the example's file."""
    file = str(REPOSITORY / "examples" / f"{example}.py")
    ended = cnnrun("train", "small.yaml", "-q", "--plugin", file, *overrides)
    assert ended.code == 0, ended.err
    return Path(ended.out.strip()), file


def test_a_plug_in_of_the_command_line_is_part_of_the_run(cnnrun: Command) -> None:
    """So it goes on without being named again; a checkpoint by itself names no code to run."""
    run, file = _train(cnnrun, "my_model", "model=tiny_cnn", "training.draw=false")
    assert file in (run / "config.yaml").read_text()
    resumed = cnnrun("train", "--resume", run, "training.epochs=3", "-q")
    assert resumed.code == 0, resumed.err
    refused = cnnrun("eval", run)
    assert refused.code == 1
    assert f"if you trust it, pass --plugin {file}" in refused.err
    elsewhere = os.path.relpath(file)  # the same file by another name
    assert cnnrun("eval", run, "--plugin", elsewhere).code == 0


def test_each_example_says_how_it_is_used() -> None:
    assert len(EXAMPLES) == len(KINDS)
    for file in EXAMPLES:
        assert f"--plugin examples/{file.name}" in file.read_text().split('"""')[1]


def test_examples_and_documents_import_from_the_one_door_alone() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    shown = {file: set(_IMPORTED.findall(file.read_text())) for file in [*EXAMPLES, *pages]}
    assert {m for modules in shown.values() for m in modules} == {"cnnrun", "cnnrun.plugin"}
    assert all(shown[file] == {"cnnrun.plugin"} for file in EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "override"),
    [
        ("my_optimizer", "optimizer={name: signsgd, lr: 0.01}"),
        ("my_schedule", "schedule={name: root, decay: 2}"),
        ("my_activation", "model.activation={name: squareplus, bend: 2.0}"),
        ("my_initializer", "initializer={name: ternary, scale: 0.9}"),
        ("my_augmentation", "dataset.augment=[{name: fog, most: 0.3}]"),
        ("my_logger", "loggers=[{name: chat, file: lines.txt}]"),
    ],
)
def test_each_other_kind(cnnrun: Command, example: str, override: str) -> None:
    """Trained from its own YAML keys; none is left as a default that would do nothing."""
    run, file = _train(cnnrun, example, override, "training.draw=false")
    rows = load_run(run).metrics
    assert np.isfinite([row["train_loss"] for row in rows]).all()
    usual = Path(cnnrun("train", "small.yaml", "-q", "training.draw=false").out.strip())
    same = rows == load_run(usual).metrics
    assert same == (example == "my_logger")
    if example == "my_logger":
        assert len(Path("lines.txt").read_text().splitlines()) == len(rows)
    ended = cnnrun("eval", run, "--plugin", file)
    assert ended.code == 0, ended.err


def test_model(cnnrun: Command) -> None:
    run, file = _train(cnnrun, "my_model", "model={name: tiny_cnn, width: 4}")
    scores = json.loads(cnnrun("eval", run, "--json", "--plugin", file).out)
    assert scores["samples"] == 360
    assert load_run(run).summary["parameters"] == 4 * 10 + 4 * 10 + 10


def test_dataset(cnnrun: Command) -> None:
    run, file = _train(cnnrun, "my_dataset", "dataset={name: halves, count: 200}")
    scores = json.loads(cnnrun("eval", run, "--json", "--plugin", file).out)
    assert scores["classes"] == ["left", "right"]
    assert scores["samples"] == 40
    assert scores["accuracy"] > 0.9  # it can be told


def test_loss(cnnrun: Command) -> None:
    run, file = _train(cnnrun, "my_loss", "loss=brier")
    _, parts, _ = open_checkpoint(run, plugins=[file])
    predictions = evaluation.predict(parts, "test")
    probabilities = softmax(predictions.answers["outputs"])
    wanted = brier_score_loss(predictions.labels, probabilities, scale_by_half=False)
    assert predictions.answers["losses"].mean() == pytest.approx(wanted, rel=1e-5)
    shares = torch.eye(10)[predictions.labels]
    loss = losses.get("brier").factory()
    outputs = torch.from_numpy(predictions.answers["outputs"])
    np.testing.assert_allclose(loss(outputs, shares), predictions.answers["losses"], atol=1e-6)


def test_metric(cnnrun: Command) -> None:
    run, file = _train(cnnrun, "my_metric", "task=classify_top3", "training.monitor=top3")
    best = load_run(run).summary["best"]
    _, parts, _ = open_checkpoint(run, plugins=[file])
    predictions = evaluation.predict(parts, "validation")
    wanted = top_k_accuracy_score(predictions.labels, predictions.answers["outputs"], k=3)
    assert best["validation_top3"] == pytest.approx(wanted)
    assert best["validation_top3"] >= best["validation_accuracy"]


@pytest.mark.slow
def test_plot(cnnrun: Command) -> None:
    run, file = _train(cnnrun, "my_plot")
    ended = cnnrun("viz", "confidence", run, "-p", "bins=10", "--plugin", file)
    assert ended.code == 0, ended.err
    assert Path(ended.out.strip()).read_bytes().startswith(b"\x89PNG")
    figure = load_run(run).show("confidence", bins=10, plugins=[file])
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 360


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in site-packages with two plug-ins, one of them broken."""
    site = tmp_path / "site"
    about = site / "some_package-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[cnnrun.models]\nbroken = some_broken_models\n[cnnrun.losses]\nmine = some_losses\n"
    )
    (site / "some_broken_models.py").write_text("1 / 0\n")
    (site / "some_losses.py").write_text(
        "from torch import nn\nfrom cnnrun.registry import KINDS, losses\n"
        "@losses.register('some_loss')\nclass SomeLoss(nn.Module):\n    'A loss.'\n"
    )
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    plugins.load_installed.cache_clear()


@pytest.mark.usefixtures("installed")
def test_installed_plugins_are_loaded_once(capsys: pytest.CaptureFixture[str]) -> None:
    load_plugins([])
    assert "some_loss" in losses.names()
    told = capsys.readouterr().err
    assert "plug-in 'broken' (some_broken_models) of the installed package some-package" in told
    assert "ZeroDivisionError" in told
    load_plugins([])
    assert capsys.readouterr().err == ""
