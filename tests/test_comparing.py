"""Comparing runs: the statistics against scipy's, and what is said of folders of runs."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.comparing.comparison import compare
from cnnrun.comparing.finished import Run, find_runs
from cnnrun.comparing.statistics import holm, mean_interval, paired_p
from tests.conftest import Command

NUMBERS = st.lists(st.floats(-100, 100), min_size=3, max_size=20)


@settings(deadline=None)
@given(NUMBERS)
def test_the_interval_is_scipys(values: list[float]) -> None:
    from scipy import stats

    ours = mean_interval(values)
    assert ours.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert ours.low is not None
    assert ours.high is not None
    if np.std(values) > 1e-6:
        low, high = stats.t.interval(
            0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
        )
        assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    samples = random.normal(0.9, 0.02, (4000, 5))
    covered = 0
    for sample in samples:
        _, low, high = mean_interval(sample.tolist())
        assert low is not None
        assert high is not None
        covered += low <= 0.9 <= high
    assert covered / len(samples) == pytest.approx(0.95, abs=0.012)


def test_the_paired_test_is_scipys_and_knows_what_it_can_not_say() -> None:
    from scipy.stats import ttest_rel

    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.92]
    assert paired_p(first, second) == pytest.approx(ttest_rel(first, second).pvalue)
    assert paired_p([0.9], [0.8]) is None
    assert paired_p([0.9, 0.8], [0.9, 0.8]) == 1
    assert paired_p([0.75, 0.5], [0.5, 0.25]) is None, "no spread: no test"


def test_holms_correction_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def _run(path: str, seed: int, lr: float, accuracy: float, finished: bool = True) -> Run:
    summary: dict[str, Any] = {"test": {"accuracy": accuracy, "loss": 1 - accuracy}}
    return Run(
        Path(path), {"seed": seed, "name": path, "optimizer.lr": lr},
        [{"epoch": 1, "validation_accuracy": accuracy}], summary if finished else {},
    )  # fmt: skip


def test_groups_are_ranked_and_a_real_difference_is_claimed() -> None:
    runs = [_run(f"a{s}", s, 0.1, 0.95 + 0.001 * s) for s in range(5)]
    runs += [_run(f"b{s}", s, 0.2, 0.90 + 0.0015 * s) for s in range(5)]
    found = compare(runs)
    assert found.measure == "accuracy"
    assert [group.label for group in found.groups] == ["optimizer.lr=0.1", "optimizer.lr=0.2"]
    assert "'optimizer.lr=0.1' is better than 'optimizer.lr=0.2' by 4.90 % of accuracy" in (
        found.conclusion
    )
    by_loss = compare(runs, "loss")
    assert by_loss.groups[0].label == "optimizer.lr=0.1", "less loss is better"


def test_three_noisy_seeds_claim_nothing() -> None:
    scores = {0.1: (0.91, 0.95, 0.92), 0.2: (0.92, 0.91, 0.93)}
    runs = [_run(f"{lr}{s}", s, lr, a) for lr, of in scores.items() for s, a in enumerate(of)]
    assert "No difference can be claimed" in compare(runs).conclusion
    assert "from 3 shared seeds" in compare(runs).conclusion


def test_what_is_doubtful_is_told_and_nan_is_never_first() -> None:
    runs = [
        *(_run(f"nan{s}", s, 9.0, math.nan) for s in range(2)),
        *(_run(f"same{s}", s, 0.1, 0.5) for s in range(2)),
        _run("alone", 0, 0.3, 0.4),
        _run("stopped", 1, 0.3, 0.4, finished=False),
    ]
    found = compare(runs)
    assert [group.settings["optimizer.lr"] for group in found.groups] == [0.1, 0.3, 9.0]
    told = "\n".join(found.warnings)
    assert "stopped is left out: it did not finish" in told
    assert "different seeds gave identical results" in told
    assert "'optimizer.lr=0.3' has one run" in told
    assert "no number" in found.as_text()


def test_a_shell_loop_needs_no_other_file(cnnrun: Command, tiny: Path, tmp_path: Path) -> None:
    for hidden in ("[4]", "[32]"):
        for seed in (0, 1, 2):
            ended = cnnrun("train", tiny, f"model.hidden={hidden}", f"seed={seed}", "-q",
                           "training.draw=false")  # fmt: skip
            assert ended.code == 0, ended.err
    broken = tmp_path / "runs" / "tiny" / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text("a: [")

    listed = cnnrun("runs", "--json", "--sort", "accuracy")
    rows = json.loads(listed.out)
    assert len(rows) == 7
    assert "broken" in listed.err
    scores = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    assert scores == sorted(scores)
    assert "model.hidden" in rows[-1]
    kept = json.loads(cnnrun("runs", "--json", "--filter", "model.hidden=[4]").out)
    assert len(kept) == 3
    assert len(list(csv.DictReader(io.StringIO(cnnrun("runs", "--csv").out)))) == 7
    assert "finished" in cnnrun("runs").out

    ended = cnnrun("compare", "runs", "-o", "compare.png")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[1].startswith("model.hidden=[32]")
    assert "broken is left out" in ended.out
    assert Path("compare.png").stat().st_size > 10_000
    found = json.loads(cnnrun("compare", "runs", "--json").out)
    assert len(found["groups"][0]["scores"]) == 3
    assert found["groups"][0]["low"] < found["groups"][0]["mean"] < found["groups"][0]["high"]
    assert "mean,low,high" in cnnrun("compare", "runs", "--csv").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("compare", "nowhere"), "nowhere: there is no such run or folder"),
        (("runs", "."), "no run below ."),
        (("runs", "one", "--sort", "acuracy"), "--sort: there is no column 'acuracy'"),
        (
            ("runs", "one", "--filter", "optimizer.rl=1"),
            "expected KEY=VALUE; did you mean 'optimizer.lr'?",
        ),
        (("compare", "one", "--measure", "acc"), "no run was measured by 'acc'"),
    ],
)
def test_what_can_not_be_compared_is_told(
    cnnrun: Command, arguments: tuple[str, ...], told: str
) -> None:
    if "one" in arguments:
        run = Path("one/x/1")
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": 0, "optimizer": {"lr": 0.1}}))
        (run / "summary.json").write_text(json.dumps({"test": {"accuracy": 0.5}}))
    ended = cnnrun(*arguments)
    assert ended.code in (1, 2)
    assert told in ended.err


def test_thousands_of_runs_are_found_without_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    for k in range(300):
        run = tmp_path / f"run{k}"
        run.mkdir()
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": k, "optimizer": {"lr": 0.1}}))
    assert len(find_runs([tmp_path])) == 300
    code = (
        "import sys; sys.argv = ['cnnrun', 'runs', sys.argv[1]]\n"
        "from cnnrun.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"
