"""Comparing runs: the statistics against scipy's, and what is said of folders of runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.comparison import Comparison, compare, find_runs, group_runs
from cnnrun.comparison.compare import letters
from cnnrun.comparison.statistics import holm, mean_interval, paired_p, standard_deviation
from cnnrun.errors import UserError
from cnnrun.measures import _TASKS, main_measure, more_is_better, show, show_gap

NUMBERS = st.lists(st.floats(-100, 100), min_size=3, max_size=20)


@settings(deadline=None)
@given(NUMBERS)
def test_the_interval_is_scipys(values: list[float]) -> None:
    from scipy import stats

    ours = mean_interval(values)
    assert ours.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert standard_deviation(values) == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if min(values) == max(values):
        assert ours.low is ours.high is None, "no spread: no interval"
    elif np.std(values) > 1e-6:
        low, high = stats.t.interval(
            0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
        )
        assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


def test_the_interval_of_a_worked_example() -> None:
    """t(0.975; 4) is 2.776, so 2.776 * sqrt(2.5 / 5) is the reach of 1 to 5."""
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3, 3 - 1.9632, 3 + 1.9632), abs=1e-4)
    assert mean_interval([0.7]) == (0.7, None, None)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds: int) -> None:
    samples = np.random.default_rng(seeds).normal(0.9, 0.02, (4000, seeds))
    covered = 0
    for sample in samples:
        _, low, high = mean_interval(sample.tolist())
        assert low is not None
        assert high is not None
        covered += low <= 0.9 <= high
    # Three standard deviations of a share of 0.95 in 4,000 draws.
    assert covered / len(samples) == pytest.approx(0.95, abs=0.0104)


def test_equal_configs_are_told_apart_in_one_of_twenty_studies_at_most() -> None:
    """The corrected tests of three pairs of equal groups, together, over 800 studies."""
    from itertools import combinations

    random, wrong = np.random.default_rng(7), 0
    for _ in range(800):
        groups = random.normal(0.9, 0.02, (3, 5))
        values = [paired_p(list(a), list(b)) for a, b in combinations(groups, 2)]
        wrong += min(holm([p for p in values if p is not None])) < 0.05
    assert 0.005 < wrong / 800 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)


def test_the_paired_test_is_scipys_and_knows_what_it_can_not_say() -> None:
    from scipy.stats import ttest_rel

    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.92]
    assert paired_p(first, second) == pytest.approx(ttest_rel(first, second).pvalue)
    assert paired_p([0.9], [0.8]) is None
    assert paired_p([0.9, 0.8], [0.9, 0.8]) == 1
    assert paired_p([0.75, 0.5], [0.5, 0.25]) is None, "no spread: no test"
    assert paired_p([0.3, 0.5, 0.7], [0.2, 0.4, 0.6]) is None, "no spread but for rounding"


def test_holms_correction_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holms_correction_keeps_order_and_only_raises(values: list[float]) -> None:
    corrected = holm(values)
    assert all(c >= v for c, v in zip(corrected, values, strict=True))
    assert min(corrected) == min(1, len(values) * min(values))
    ranked = [corrected[k] for k in sorted(range(len(values)), key=values.__getitem__)]
    assert ranked == sorted(ranked)


@pytest.mark.parametrize("task", _TASKS)
def test_the_table_of_measures_says_what_the_task_classes_say(task: str) -> None:
    from cnnrun import registry

    factory: Any = registry.tasks.get(task).factory
    for measure, more in factory.higher_is_better.items():
        assert more_is_better(measure, task) is more
    assert {*factory.measures, *factory.headline} <= set(_TASKS[task])
    assert set(registry.tasks.names()) == set(_TASKS)


def test_measures_of_plugins_and_how_figures_are_written() -> None:
    assert main_measure("my_task", ["dice", "loss"]) == "loss"
    assert main_measure("my_task", ["dice"]) == "dice"
    assert main_measure("classify", []) is None
    assert more_is_better("dice", "my_task")
    assert not more_is_better("pixel_error", "my_task")
    assert (show("accuracy", 0.98765), show_gap("accuracy", 0.0123)) == ("98.77 %", "1.23 points")
    assert (show("psnr", 31.234), show("loss", 0.123456)) == ("31.23 dB", "0.1235")
    assert [letters(k) for k in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


class Runs:
    """Writes run directories as training leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def add(
        self,
        seed: int,
        accuracy: float | None,
        finished: bool = True,
        log: list[float] | None = None,
        test: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        """A run of `optimizer__lr=0.2` and so on; its log varies with the seed."""
        self.count += 1
        path = self.folder / "x" / f"20260102-0304{self.count:02}-abcdef"
        (path / "checkpoints").mkdir(parents=True)
        config: dict[str, Any] = {
            "name": "x", "task": {"name": "classify"}, "seed": seed,
            "model": {"name": "mlp", "hidden": [8]}, "optimizer": {"name": "sgd", "lr": 0.1},
        }  # fmt: skip
        for key, value in changes.items():
            section, _, name = key.partition("__")
            if name:
                config[section][name] = value
            else:
                config[section] = value
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        rows = [
            {"epoch": e, "train_loss": 1 / e + seed, "validation_accuracy": value}
            for e, value in enumerate(log or [0.1, 0.5], 1)
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if finished:
            scores = {"accuracy": accuracy, "loss": None if accuracy is None else 1 - accuracy}
            summary = {
                "best": rows[-1],
                "epochs": len(rows),
                "test": scores if test is None else test,
            }
            (path / "summary.json").write_text(json.dumps(summary))
        return path

    def compare(self, measure: str | None = None, ignore: tuple[str, ...] = ()) -> Comparison:
        return compare(group_runs(find_runs([self.folder]), ignore), measure)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def test_a_real_difference_is_claimed(runs: Runs) -> None:
    for seed in range(5):
        runs.add(seed, 0.90 + 0.0015 * seed, optimizer__lr=0.2)
        runs.add(seed, 0.95 + 0.001 * seed)
    found = runs.compare()
    assert (found.measure, found.split) == ("accuracy", "test")
    assert [r.title for r in found.results] == ["A (optimizer.lr=0.1)", "B (optimizer.lr=0.2)"]
    # gaps 5, 4.95 ... 4.8 points: mean 4.9, reach 2.776 * 0.0791 / sqrt(5)
    assert found.conclusion == (
        "A (optimizer.lr=0.1) is better than B (optimizer.lr=0.2) by 4.90 points of accuracy "
        "(95 % interval 4.80 to 5.00, p = 1.6e-08, 5 shared seeds)."
    )
    assert found.warnings == []
    by_loss = runs.compare("loss")
    assert by_loss.results[0].group.label == "optimizer.lr=0.1", "less loss is better"
    assert "is better than B (optimizer.lr=0.2) by 0.049 of loss (95 % interval 0.048 to 0.05" in (
        by_loss.conclusion
    )


def test_the_figures_are_scipys(runs: Runs) -> None:
    from scipy.stats import ttest_rel

    scores = {0.1: (0.91, 0.95, 0.92), 0.2: (0.92, 0.91, 0.93), 0.3: (0.5, 0.52, 0.57)}
    for lr, values in scores.items():
        for seed, value in enumerate(values):
            runs.add(seed, value, optimizer__lr=lr)
    found = runs.compare().to_dict()
    by_lr = {group["settings"]["optimizer.lr"]: group for group in found["groups"]}
    assert by_lr[0.1]["mean"] == pytest.approx(np.mean(scores[0.1]))
    assert by_lr[0.1]["deviation"] == pytest.approx(np.std(scores[0.1], ddof=1))
    raw = [ttest_rel(scores[a], scores[b]).pvalue for a, b in ((0.1, 0.2), (0.1, 0.3), (0.2, 0.3))]
    assert [d["p"] for d in found["differences"]] == pytest.approx(holm(raw))


def test_three_noisy_seeds_claim_nothing(runs: Runs) -> None:
    for lr, values in {0.1: (0.91, 0.95, 0.92), 0.2: (0.92, 0.91, 0.93)}.items():
        for seed, value in enumerate(values):
            runs.add(seed, value, optimizer__lr=lr)
    found = runs.compare()
    assert found.conclusion.startswith("No difference can be claimed between A (optimizer.lr=0.1)")
    # gaps -1, 4, -1 points: mean 0.67, reach 4.303 * 2.887 / sqrt(3)
    assert "from 3 shared seeds (gap 0.67 points, 95 % interval -6.50 to 7.84" in found.conclusion
    assert "the gap between A and B (0.67 points) lies within the noise of seeds" in found.warnings


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({0: 0.9}, {0: 0.8}, "from one shared seed (gap 10.00 points)"),
        ({0: 0.9, 1: 0.91}, {2: 0.8, 3: 0.81}, "no seed or no test in common"),
        ({0: 0.9, 1: 0.8}, {0: 0.8, 1: 0.7}, "in all 2 shared seeds, and without a spread there"),
        ({0: 0.9, 1: 0.91}, {0: math.nan, 1: 0.99}, "gave no number in 1 of 2 runs and is ranked"),
    ],
)
def test_what_can_not_be_claimed(
    runs: Runs, first: dict[int, float], second: dict[int, float], told: str
) -> None:
    for lr, scores in ((0.1, first), (0.2, second)):
        for seed, score in scores.items():
            runs.add(seed, score, optimizer__lr=lr)
    found = runs.compare()
    assert found.results[0].group.label == "optimizer.lr=0.1"
    assert told in found.conclusion
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_is_doubtful_is_told_and_no_number_is_never_first(runs: Runs) -> None:
    for seed in range(2):
        runs.add(seed, math.nan if seed else None, optimizer__lr=9.0)
        runs.add(seed, 0.5)
    runs.add(0, 0.4, optimizer__lr=0.3)
    stopped = runs.add(1, 0.4, optimizer__lr=0.3, finished=False)
    (stopped / "checkpoints" / "last.pt").touch()
    for measure in ("accuracy", "loss"):
        found = runs.compare(measure)
        assert found.results[-1].group.settings["optimizer.lr"] == 9.0
        assert found.results[-1].interval is None
    told = "\n".join(found.warnings)
    assert f"1 interrupted run is left out: {stopped}" in told
    assert "different seeds of A (optimizer.lr=0.1) gave identical results" in told or (
        "different seeds of B (optimizer.lr=0.1) gave identical results" in told
    )
    assert "one seed only, so the spread is not known" in told
    assert "C (optimizer.lr=9) gave no number in 2 of 2 runs: ranked last" in told
    assert "1 of 2 runs finished" in told
    assert "no number" in found.as_text()


def test_settings_that_never_finished_are_told_and_tell_nothing_apart(runs: Runs) -> None:
    runs.add(0, 0.9)
    runs.add(0, 0.8, model__hidden=[4])
    runs.add(0, 0.9, optimizer__lr=1e6, finished=False)
    found = runs.compare()
    assert [r.group.label for r in found.results] == ["model.hidden=[8]", "model.hidden=[4]"]
    assert found.notes == ["no run of model.hidden=[8], optimizer.lr=1e+06 finished"]
    assert found.as_text().splitlines()[0].split() == ["seeds", "test", "accuracy", "model.hidden"]


def test_seeds_that_change_nothing_and_repeats_are_told(runs: Runs) -> None:
    first = runs.add(0, 0.9)
    again = runs.add(1, 0.8)
    runs.add(0, 0.7)
    (again / "metrics.jsonl").write_text((first / "metrics.jsonl").read_text())
    found = runs.compare()
    assert found.results[0].scores == {0: 0.7, 1: 0.8}, "the newest counts"
    assert "A (all runs) has several runs of a seed: the newest counts" in found.warnings
    assert any("seeds 0, 1 of A (all runs) have the same log" in text for text in found.warnings)
    assert found.conclusion == "There is one group only: nothing to compare."


def test_where_a_run_happened_is_not_what_it_is(runs: Runs) -> None:
    runs.add(0, 0.9, name="one", output="here", device="cpu", training={"draw": True})
    runs.add(1, 0.8, name="two", output="there", device="cuda", training={"draw": False})
    assert len(group_runs(find_runs([runs.folder]))) == 1
    runs.add(2, 0.8, optimizer__momentum=0.5)
    assert len(group_runs(find_runs([runs.folder]))) == 2
    assert len(group_runs(find_runs([runs.folder]), ["optimizer.momentum"])) == 1
    assert len(group_runs(find_runs([runs.folder]), ["optimizer"])) == 1


def test_labels_leave_out_what_follows_from_a_component(runs: Runs) -> None:
    for lr in (0.1, 0.2):
        runs.add(0, 0.9, optimizer__lr=lr)
        runs.add(0, 0.9, optimizer__lr=lr, model={"name": "cnn", "channels": [4], "pooling": "max"})
    groups = group_runs(find_runs([runs.folder]))
    labels = {group.label for group in groups}
    assert labels == {f"model={m}, optimizer.lr={lr}" for m in ("mlp", "cnn") for lr in (0.1, 0.2)}
    assert groups[0].brief == "model=mlp, lr=0.1"
    assert "model.channels" in groups[1].settings, "nothing is hidden from scripts"
    assert not compare(groups).notes, "other keys of another component are no other version"


def test_configs_of_another_version_are_told(runs: Runs) -> None:
    runs.add(0, 0.9)
    runs.add(0, 0.8, optimizer__nesterov=False)
    assert "some configs lack optimizer.nesterov" in runs.compare().notes[0]


def test_scores_are_all_of_one_split(runs: Runs) -> None:
    runs.add(0, 0.9, test={}, log=[0.1, 0.6])
    runs.add(0, 0.8, test={}, log=[0.2, 0.7], optimizer__lr=0.2)
    found = runs.compare()
    assert (found.split, found.results[0].scores) == ("validation", {0: 0.7})
    assert any("the validation split that chose" in text for text in found.warnings)
    runs.add(1, 0.1, optimizer__lr=0.2)
    runs.add(2, 0.1, optimizer__lr=0.2)
    assert runs.compare().split == "validation", "which all of them have"


def test_tasks_are_not_mixed(runs: Runs) -> None:
    runs.add(0, 0.9)
    runs.add(0, None, task={"name": "reconstruct"}, test={"mse": 0.01, "psnr": 20.0, "loss": 0.01})
    with pytest.raises(UserError, match=r"different tasks \(classify, reconstruct\)"):
        runs.compare()
    assert runs.compare("loss").measure == "loss"


def test_an_autoencoder_is_measured_by_its_error(runs: Runs) -> None:
    for seed, mse in enumerate((0.01, 0.02)):
        test = {"mse": mse, "psnr": 20.0 - mse, "ssim": 0.5}
        runs.add(0, None, task={"name": "reconstruct"}, test=test, optimizer__lr=0.1 + seed)
    assert runs.compare().measure == "mse"
    assert runs.compare().results[0].scores == {0: 0.01}
    assert runs.compare("psnr").results[0].scores == {0: pytest.approx(19.99)}


def test_values_of_different_losses_are_doubted(runs: Runs) -> None:
    runs.add(0, 0.9, loss={"name": "cross_entropy"})
    runs.add(0, 0.8, loss={"name": "focal"})
    told = "values of different losses (cross_entropy, focal) say nothing together"
    assert told in runs.compare("loss").warnings
    assert told not in runs.compare("accuracy").warnings


def test_shared_seeds_may_turn_the_ranking_round(runs: Runs) -> None:
    """A has more on the whole by a seed that B lacks; where they meet, B is surely better."""
    for seed in range(4):
        runs.add(seed, 0.80 + 0.001 * seed)
        runs.add(seed, 0.82 + 0.0016 * seed, optimizer__lr=0.2)
    runs.add(4, 0.99)
    found = runs.compare()
    assert found.results[0].group.label == "optimizer.lr=0.1"
    assert found.conclusion.startswith(
        "B (optimizer.lr=0.2) is better than A (optimizer.lr=0.1) by 2.09 points of accuracy"
    )


def test_few_groups_are_all_told_of(runs: Runs) -> None:
    for k in range(3):
        for seed in range(3):
            runs.add(seed, 0.5 + 0.1 * k + 0.001 * seed * k, optimizer__lr=float(k))
    lines = runs.compare().as_text().splitlines()
    for pair in ("A is better than B", "A is better than C", "B is better than C"):
        assert sum(line.startswith(pair) for line in lines) == 1
    assert "corrected for 3 tests (Holm)" in "".join(lines)


def test_many_differing_keys_stand_below_one_another(runs: Runs) -> None:
    changes: list[dict[str, Any]] = [{}, {f"optimizer__k{k}": k for k in range(6)}]
    for change in changes:
        runs.add(0, 0.5, **change)
    lines = runs.compare().as_text().splitlines()
    assert "what differs:" in lines
    assert ["optimizer.k5", "-", "5"] in [line.split() for line in lines]


def test_many_groups_are_tested_against_the_best(runs: Runs) -> None:
    for k in range(25):
        for seed in range(2):
            runs.add(seed, 0.5 + 0.01 * k + 0.001 * seed * k, optimizer__lr=float(k))
    found = runs.compare()
    assert len(found.differences) == 24
    assert {d.first.name for d in found.differences} == {"A"}
    assert any("only the best is tested against each other" in text for text in found.warnings)
    text = found.as_text()
    assert "and 13 more: --json has them all" in text
