"""Every table on a terminal of 60, 80 and 120 columns: no line is longer, and no number is cut."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cnnrun
from cnnrun.components.tasks import Predictions, Task
from cnnrun.components.tasks.classify import Classify
from cnnrun.components.tasks.multilabel import Multilabel
from cnnrun.components.tasks.reconstruct import Reconstruct
from cnnrun.runtime import text_table
from cnnrun.runtime.text_table import columns, shortened, width_of, within
from cnnrun.runtime.weight_names import table
from tests.comparison.test_compare import Runs
from tests.conftest import Command
from tests.runtime.test_terminal import Terminal
from tests.small_run import small_run as small_run

NAMES = [f"a class with a name that takes much of a line, the {k}th of them" for k in range(3)]
WIDTHS = (60, 80, 120)


def _of_task(task: Task, answers: dict[str, Any], targets: Any) -> str:
    return task.to_text(task.scores(Predictions(answers, targets), NAMES))


def _classify(_: Path) -> str:
    random = np.random.default_rng(0)
    outputs = random.normal(size=(1500, 3)).astype(np.float32)
    answers = {"outputs": outputs, "losses": np.ones(1500, np.float32)}
    return _of_task(Classify(), answers, random.integers(0, 3, 1500))


def _reconstruct(_: Path) -> str:
    answers = {name: np.full(30, 1234.5, np.float32) for name in ("losses", "mse", "psnr", "ssim")}
    answers["codes"] = np.zeros((30, 2), np.float32)
    return _of_task(Reconstruct(), answers, np.arange(30) % 3)


def _tabled(_: Path) -> str:
    """What the tasks for masks, values and label sets print."""
    head = ["label", "average precision", "precision", "recall", "F1", "threshold", "images"]
    rows = [[name, *["0.123"] * 5, "12,345"] for name in NAMES]
    return Multilabel().with_table({"loss": 1.5}, head, rows)


def _weights(_: Path) -> str:
    own = {f"{name.replace(' ', '_')}.1.weight": torch.zeros(40, 30) for name in NAMES}
    return "\n".join(table(own, {})[:4])


def _compare(folder: Path) -> str:
    from cnnrun.comparison import to_text

    return to_text(_runs(folder).compare()).split("\n\nNo difference")[0]


def _runs(folder: Path) -> Runs:
    runs = Runs(folder / "runs")
    if not runs.folder.exists():
        for k in range(6):
            more = {"model__hidden": [100 + k] * 6, "optimizer__weight_decay": k / 1000}
            runs.add(k % 2, 0.5 + k / 100, optimizer__lr=0.1 + k, **more)
    return runs


def _list_of_runs(folder: Path) -> str:
    from cnnrun.comparison import find_runs
    from cnnrun.comparison.table import RunTable

    table = RunTable(find_runs([_runs(folder).folder]))
    for run in table.runs:
        object.__setattr__(run, "path", Path("runs/x") / run.path.name)
    keys = ["run", "test_accuracy", "test_loss", "optimizer.lr", "model.hidden", "state", "seed"]
    return table.to_text(keys)


def _suspects(_: Path) -> str:
    from cnnrun.evaluation.label_errors import Suspects

    row = {"label": NAMES[0], "suggested": NAMES[1], "margin": -0.987}
    rows = [{"image": f"train/a/folder/deep/down/image_{k}.png", **row} for k in range(3)]
    return Suspects(rows, torch.zeros(3, 1, 2, 2), 100, "cross-validation, 3 folds").to_text()


def _crossval(_: Path) -> str:
    from cnnrun.multirun.crossval import Scored

    scores = {
        name: [0.98765, 0.91234, 0.99999, 0.5]
        for name in ("accuracy", "majority_accuracy", "balanced_accuracy", "macro_f1", "loss")
    }
    runs = [Path(str(k)) for k in range(4)]
    files = [Path("predictions.csv")]
    return Scored("x", Classify, scores, {}, runs, files, 1797, [0]).to_text()


def _sweep(_: Path) -> str:
    from cnnrun.metrics import ACCURACY
    from cnnrun.multirun.sweep.results import Results, TrialResult

    space = ("optimizer.lr", "optimizer.weight_decay", "model.activation", "dataset.root", "seed")
    plan = SimpleNamespace(
        metric=ACCURACY,
        sweep=SimpleNamespace(space=space),
        seeds=[0, 1],
        repeat_command=lambda _: "cnnrun train x",
    )
    trials = [
        TrialResult(k, dict(zip(space, (0.125, 3e-4, "relu", f"{NAMES[k]}/", k), strict=True)),
                    "finished", {0: 0.9, 1: 0.95}, {}, "")
        for k in range(3)
    ]  # fmt: skip
    return Results(plan, trials).to_text()  # type: ignore[arg-type]


def _study(folder: Path) -> str:
    from cnnrun.multirun.study.findings import Findings

    comparison = _runs(folder).compare()
    for result, name in zip(comparison.results, NAMES * 2, strict=False):
        object.__setattr__(result, "name", name)
        for run in result.group.runs:
            run.summary["parameters"] = 123_456_789
    study = SimpleNamespace(about="What is it?", contrasts=[], plots=[])
    findings = Findings(study, comparison, [])  # type: ignore[arg-type]
    findings.__dict__["sentences"] = []
    return findings.to_text().split("\n\nwarning")[0]


def _data(_: Path) -> str:
    from cnnrun.data.inspection.report import report
    from cnnrun.data.inspection.text import to_text
    from cnnrun.data.sources.digits import digits

    found = report(digits())
    found["classes"] = [f"{NAMES[0]} {name}" for name in found["classes"]]
    return to_text(found).split("\n\n")[1]


TABLES: dict[str, list[Callable[[Path], str]]] = {
    "comparison/table.py": [_list_of_runs],
    "comparison/text.py": [_compare],
    "components/tasks/classify.py": [_classify],
    "components/tasks/reconstruct.py": [_reconstruct],
    "components/tasks/task.py": [_tabled],
    "data/inspection/text.py": [_data],
    "evaluation/label_errors.py": [_suspects],
    "multirun/crossval.py": [_crossval],
    "multirun/study/findings.py": [_study],
    "multirun/sweep/results.py": [_sweep],
    "runtime/weight_names.py": [_weights],
}


def test_all_tables_are_tried() -> None:
    package = Path(cnnrun.__file__).parent
    makers = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"import .*\bcolumns\b", file.read_text(encoding="utf-8"))
        and "text_table" in file.read_text(encoding="utf-8")
    }
    assert makers == set(TABLES)


@pytest.mark.parametrize("made", [one for each in TABLES.values() for one in each])
def test_a_table_fits_and_keeps_its_numbers(made: Callable[[Path], str], tmp_path: Path) -> None:
    whole = made(tmp_path)
    assert max(map(width_of, whole.split("\n"))) > 60, "too narrow to tell anything"
    for width in WIDTHS:
        with within(width):
            text = made(tmp_path)
        assert all(width_of(line) <= width for line in text_table.fitted(text, width).split("\n"))
        assert _numbers(whole) <= _numbers(text), "no number is cut"
    assert made(tmp_path) == whole, "pipes and files get it whole"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_command_fits_its_tables_to_the_terminal_alone(
    cnnrun: Command, small_run: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    terminal = Terminal()
    with monkeypatch.context() as shown:
        if is_terminal:
            shown.setattr(sys, "stdout", terminal)
        ended = cnnrun("eval", small_run)
    assert ended.code == 0, ended.err
    text = terminal.getvalue() or ended.out
    assert text.count("\nclass  ") == (2 if is_terminal else 1)
    assert (max(map(width_of, text.split("\n"))) <= 36) == is_terminal


def _numbers(text: str) -> set[str]:
    """The cells that are numbers."""
    cells = re.split(r" {2,}|\n", text)
    return {cell for cell in cells if re.fullmatch(r"[-\d.,% ±to]+", cell)}


@given(st.lists(st.text("ab猫", max_size=90), min_size=1, unique=True), st.sampled_from(WIDTHS))
def test_no_two_names_become_alike(names: list[str], width: int) -> None:
    with within(width):
        _, *lines = columns([["head", "n"], *([name, "1.25"] for name in names)], names=(0,))
    assert len({line.removesuffix("1.25").rstrip() for line in lines}) == len(names)


@given(st.text("ab猫\u0301 ", max_size=60), st.integers(5, 40))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    found = shortened(text, width)
    assert width_of(found) <= width
    if width_of(text) <= width:
        assert found == text
    else:
        start, end = found.split("...")
        assert text.startswith(start)
        assert text.endswith(end)
