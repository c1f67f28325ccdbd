"""One description of a metric: what it says, and that every place says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnrun import registry
from cnnrun.comparison import find_runs
from cnnrun.comparison.text import figure
from cnnrun.metrics import ACCURACY, ECE, KNOWN, LOSS, MAJORITY, PSNR, Metric, read_metrics
from cnnrun.report import many_runs, one_run
from tests.conftest import Command


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (ACCURACY, 0.98765, "98.77 %"),
        (ACCURACY, 0.0, "0.00 %"),
        (ECE, 0.0087, "0.87 %"),
        (ECE, 0.00004, "0.004 %"),
        (PSNR, 31.234, "31.23 dB"),
        (LOSS, 0.123456, "0.1235"),
        (LOSS, 0.0, "0.0000"),
        (LOSS, 3.2e-6, "3.2e-06"),
        (LOSS, 1.2e37, "1.2e+37"),
        (LOSS, float("nan"), "NaN"),
        (LOSS, float("inf"), "inf"),
        (LOSS, None, "-"),
        (Metric("dice", True), 0.5, "0.5000"),
    ],
)
def test_scores_as_they_are_read(metric: Metric, value: float | None, text: str) -> None:
    assert metric.text(value) == text


@given(st.sampled_from(list(KNOWN.values())), st.floats(allow_nan=True, allow_infinity=True))
def test_a_score_is_short_and_shows_at_least_one_digit_of_what_it_is(
    metric: Metric, value: float
) -> None:
    text = metric.text(value)
    assert len(text) <= 16
    if value == value and value:
        assert re.search("[1-9]|inf", text)


def test_gaps_of_percentages_are_in_points() -> None:
    assert (ACCURACY.gap(0.0123), ACCURACY.gap(0.0123, unit=False)) == ("1.23 points", "1.23")
    assert (PSNR.gap(0.5), LOSS.gap(0.0123456)) == ("0.5 dB", "0.0123")


def test_what_a_task_declares_comes_back_from_its_summary() -> None:
    for name in ("classify", "reconstruct", "stylize"):
        declared = registry.tasks.get(name).factory.declared()  # type: ignore[attr-defined]
        written = json.loads(json.dumps({n: m.to_dict() for n, m in declared.items()}))
        assert read_metrics(written) == declared
        for metric in declared.values():
            assert KNOWN[metric.name] == metric
            if metric is not MAJORITY:
                assert metric.higher_is_better is not None


def test_no_metric_of_a_file_is_trusted_farther_than_it_can_be_read() -> None:
    values = {
        "accuracy": {"format": ".99999999f", "unit": 3, "display_name": "\x1b[31m"},
        "dice": {"higher_is_better": "no", "format": "%s", "display_name": "x" * 10**6},
        "list": [1],
        "deep": {"unit": {"a": 1}},
    }
    found = read_metrics(values)
    assert found["accuracy"] == ACCURACY
    assert found["dice"] == Metric("dice")
    assert "list" not in found
    assert found["deep"] == Metric("deep")
    assert read_metrics([1]) == read_metrics(None) == {}


PLUGIN = """
from cnnrun.components.tasks.classify import Classify
from cnnrun.metrics import Metric
from cnnrun.registry import tasks
import torch


@tasks.register("by_error")
class ByError(Classify):
    \"\"\"Classification that is measured by its error.\"\"\"

    epoch_metrics = ("loss", "accuracy", "wrong")
    metrics = (Metric("wrong", False, "%", "error rate", ".1f"),)
    monitor = "wrong"
    headline = ("wrong", "accuracy")

    def sums(self, losses, outputs, targets):
        usual = super().sums(losses, outputs, targets)
        return torch.cat((usual, len(losses) - usual[1:]))

    def scores(self, predictions, classes):
        found = super().scores(predictions, classes)
        return {"wrong": 1 - found["accuracy"], "accuracy": found["accuracy"]}

    def to_text(self, scores):
        return self.lines_of(scores, self.headline)


@tasks.register("shortly")
class Shortly(ByError):
    \"\"\"The direction alone, as plug-ins have said it before.\"\"\"

    metrics = ()
    epoch_metrics = ("loss", "accuracy", "mistakes")
    monitor = "mistakes"
    higher_is_better = {"mistakes": False}


@tasks.register("unsaid")
class Unsaid(Shortly):
    \"\"\"Says nothing of its direction.\"\"\"

    epoch_metrics = ("loss", "accuracy", "errors")
    monitor = "errors"
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "by_error.py"
    file.write_text(PLUGIN)
    return file


def test_one_score_reads_the_same_everywhere(cnnrun: Command, tiny: Path, plugin: Path) -> None:
    """In train, eval, runs, compare, both reports and, as a number, in every JSON."""
    usual = ("training.epochs=2", "training.draw=false", "task=by_error", "--plugin", plugin)
    trained = cnnrun("train", tiny, *usual)
    assert trained.code == 0, trained.err
    run = Path(re.findall(r"^run +(.*)$", trained.out, re.MULTILINE)[0])
    summary = json.loads((run / "summary.json").read_text())
    metric = Metric("wrong", False, "%", "error rate", ".1f")
    assert read_metrics(summary["metrics"])["wrong"] == metric
    assert (summary["monitor"], summary["main_metric"]) == ("wrong", "wrong")
    text = metric.text(summary["test"]["wrong"])
    assert re.fullmatch(r"\d+\.\d %", text)
    assert f"error rate {text}" in trained.out
    best = f"error rate {metric.text(summary['best']['validation_wrong'])}"
    assert f"validation {best}" in trained.err
    evaluated = cnnrun("eval", run, "--plugin", plugin)
    assert re.search(rf"^error rate +{text}$", evaluated.out, re.MULTILINE), evaluated.out
    assert "360 images" in evaluated.out, "counted, whether the task says so or not"
    scores = json.loads(cnnrun("eval", run, "--plugin", plugin, "--json").out)
    assert scores["wrong"] == summary["test"]["wrong"]
    listed = cnnrun("runs", "--columns", "run,test_wrong").out
    assert listed.splitlines()[1].endswith(text)
    assert json.loads(cnnrun("runs", "--json").out)[0]["test_wrong"] == summary["test"]["wrong"]
    compared = cnnrun("compare", "runs")
    assert "test error rate" in compared.out
    assert text in compared.out
    found = json.loads(cnnrun("compare", "runs", "--json").out)
    assert (found["metric"], found["more_is_better"]) == ("wrong", False)
    assert found["groups"][0]["mean"] == summary["test"]["wrong"]
    [read] = find_runs([run])
    assert figure(metric, None, 1, "NaN") == "NaN"
    for page in (one_run.report(read), many_runs.report([read], "one", run)):
        assert "error rate" in page
        assert text in page


def test_the_better_run_of_a_plugins_task_is_the_first_everywhere(
    cnnrun: Command, tiny: Path, plugin: Path
) -> None:
    for lr in (0.1, 0.0001):
        for seed in (0, 1, 2):
            ended = cnnrun("train", tiny, "task=shortly", "--plugin", plugin, f"optimizer.lr={lr}",
                           f"seed={seed}", "training.draw=false", "-q")  # fmt: skip
            assert ended.code == 0, ended.err
    found = json.loads(cnnrun("compare", "runs", "--json").out)
    assert found["metric"] == "mistakes"
    assert found["groups"][0]["settings"] == {"optimizer.lr": 0.1}
    rows = json.loads(cnnrun("runs", "--json", "--sort", "mistakes").out)
    assert [row["optimizer.lr"] for row in rows] == [0.1] * 3 + [0.0001] * 3


def test_a_monitor_without_a_direction_is_refused_before_training(
    cnnrun: Command, tiny: Path, plugin: Path
) -> None:
    ended = cnnrun("train", tiny, "task=unsaid", "--plugin", plugin)
    assert ended.code == 2
    assert "does not say whether a higher 'errors' is better" in ended.err
    assert 'higher_is_better = {"errors": True}' in ended.err


def test_what_can_be_monitored_is_listed(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "training.monitor=macro_f1")
    assert "'macro_f1' is not measured; after an epoch there are loss, accuracy" in ended.err
