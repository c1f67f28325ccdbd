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

from cnnrun.comparison import Comparison, compare, find_runs, group_runs, to_dict, to_text
from cnnrun.comparison.compare import letters
from cnnrun.comparison.statistics import (
    corrected,
    mean_interval,
    paired_p,
    standard_deviation,
)
from cnnrun.comparison.text import conclusion
from cnnrun.errors import UserError
from cnnrun.runtime.text_table import width_of, within

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


@pytest.mark.slow
def test_equal_configs_are_told_apart_in_one_of_twenty_studies_at_most() -> None:
    """The corrected tests of three pairs of equal groups, together, over 800 studies."""
    from itertools import combinations

    random, wrong = np.random.default_rng(7), 0
    for _ in range(800):
        groups = random.normal(0.9, 0.02, (3, 5))
        values = [paired_p(list(a), list(b)) for a, b in combinations(groups, 2)]
        wrong += 3 * min(p for p in values if p is not None) < 0.05
    assert 0.005 < wrong / 800 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)


def test_the_paired_test_is_scipys_and_knows_what_it_can_not_say() -> None:
    from scipy.stats import ttest_rel

    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.92]
    assert paired_p(first, second) == pytest.approx(ttest_rel(first, second).pvalue)
    assert paired_p([0.9], [0.8]) is None
    assert paired_p([0.9, 0.8], [0.9, 0.8]) == 1
    assert paired_p([0.75, 0.5], [0.5, 0.25]) is None, "no spread: no test"
    assert paired_p([0.3, 0.5, 0.7], [0.2, 0.4, 0.6]) is None, "no spread but for rounding"


def test_letters_go_on_as_in_spreadsheets() -> None:
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
            for e, value in enumerate(log or [0.1, accuracy], 1)
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

    def compare(self, metric: str | None = None, ignore: tuple[str, ...] = ()) -> Comparison:
        return compare(group_runs(find_runs([self.folder]), ignore), metric)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def test_a_real_difference_is_claimed(runs: Runs) -> None:
    for seed in range(5):
        runs.add(seed, 0.90 + 0.0015 * seed, optimizer__lr=0.2)
        runs.add(seed, 0.95 + 0.001 * seed)
    found = runs.compare()
    assert (found.metric.name, found.split) == ("accuracy", "test")
    assert [r.title for r in found.results] == ["A (optimizer.lr=0.1)", "B (optimizer.lr=0.2)"]
    # gaps 5, 4.95 ... 4.8 points: mean 4.9, reach 2.776 * 0.0791 / sqrt(5)
    assert conclusion(found) == (
        "A (optimizer.lr=0.1) is better than B (optimizer.lr=0.2) by 4.90 points of accuracy "
        "(95 % interval 4.80 to 5.00, p = 1.6e-08, 5 shared seeds)."
    )
    assert found.caveats == []
    by_loss = runs.compare("loss")
    assert by_loss.results[0].group.label == "optimizer.lr=0.1", "less loss is better"
    assert "is better than B (optimizer.lr=0.2) by 0.049 of loss (95 % interval 0.048 to 0.05" in (
        conclusion(by_loss)
    )


def test_the_figures_are_scipys(runs: Runs) -> None:
    from scipy.stats import ttest_rel

    scores = {0.1: (0.91, 0.95, 0.92), 0.2: (0.92, 0.91, 0.93), 0.3: (0.5, 0.52, 0.57)}
    for lr, values in scores.items():
        for seed, value in enumerate(values):
            runs.add(seed, value, optimizer__lr=lr)
    found = to_dict(runs.compare())
    by_lr = {group["settings"]["optimizer.lr"]: group for group in found["groups"]}
    assert by_lr[0.1]["mean"] == pytest.approx(np.mean(scores[0.1]))
    assert by_lr[0.1]["deviation"] == pytest.approx(np.std(scores[0.1], ddof=1))
    raw = [ttest_rel(scores[a], scores[b]).pvalue for a, b in ((0.1, 0.2), (0.1, 0.3), (0.2, 0.3))]
    assert [d["p"] for d in found["differences"]] == pytest.approx([min(1, 3 * p) for p in raw])


def test_three_noisy_seeds_claim_nothing(runs: Runs) -> None:
    for lr, values in {0.1: (0.91, 0.95, 0.92), 0.2: (0.92, 0.91, 0.93)}.items():
        for seed, value in enumerate(values):
            runs.add(seed, value, optimizer__lr=lr)
    found = runs.compare()
    assert conclusion(found).startswith("No difference can be claimed between A (optimizer.lr=0.1)")
    # gaps -1, 4, -1 points: mean 0.67, reach 4.303 * 2.887 / sqrt(3)
    assert "from 3 shared seeds (gap 0.67 points, 95 % interval -6.50 to 7.84" in conclusion(found)
    assert "the gap between A and B (0.67 points) lies within the noise of seeds" in found.caveats


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({0: 0.9}, {0: 0.8}, "from one shared seed (gap 10.00 points)"),
        ({0: 0.9, 1: 0.91}, {2: 0.8, 3: 0.81}, "no seed or no test in common"),
        ({0: 0.9, 1: 0.8}, {0: 0.8, 1: 0.7}, "in all 2 shared seeds, and without a spread there"),
        (
            {0: 0.9, 1: 0.91},
            {0: math.nan, 1: 0.99},
            "has no score in 1 of 2 runs (NaN) and",
        ),
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
    assert told in conclusion(found)
    json.dumps(to_dict(found), allow_nan=False)


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
    told = "\n".join(found.caveats)
    assert f"1 interrupted run is left out: {stopped}" in told
    assert "different seeds of A (optimizer.lr=0.1) gave identical results" in told or (
        "different seeds of B (optimizer.lr=0.1) gave identical results" in told
    )
    assert "one seed only, so the spread is not known" in told
    assert "C (optimizer.lr=9) has no score in 2 of 2 runs (NaN): ranked last" in told
    assert "1 of 2 runs of" in told
    assert "NaN" in to_text(found)


def test_settings_that_never_finished_are_told_and_tell_nothing_apart(runs: Runs) -> None:
    runs.add(0, 0.9)
    runs.add(0, 0.8, model__hidden=[4])
    runs.add(0, 0.9, optimizer__lr=1e6, finished=False)
    found = runs.compare()
    assert [r.group.label for r in found.results] == ["model.hidden=[8]", "model.hidden=[4]"]
    assert found.caveats[-1] == "no run of model.hidden=[8], optimizer.lr=1e+06 finished"
    head = to_text(found).splitlines()[0].split()
    assert head == ["seeds", "validation", "accuracy", "test", "accuracy", "model.hidden"]


def test_seeds_that_change_nothing_and_repeats_are_told(runs: Runs) -> None:
    first = runs.add(0, 0.9)
    again = runs.add(1, 0.8)
    runs.add(0, 0.7)
    (again / "metrics.jsonl").write_text((first / "metrics.jsonl").read_text())
    found = runs.compare()
    assert found.results[0].scores == {0: 0.7, 1: 0.8}, "the newest counts"
    assert "A (all runs) has several runs of one seed: the newest is used" in found.caveats
    assert any("seeds 0, 1 of A (all runs) have the same log" in text for text in found.caveats)
    assert conclusion(found) == "There is only one group: nothing to compare."


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
    told = compare(groups).caveats
    assert not any("lack" in text for text in told), "other keys of another component are usual"


def test_configs_of_another_version_are_told(runs: Runs) -> None:
    runs.add(0, 0.9)
    runs.add(0, 0.8, optimizer__nesterov=False)
    assert "some configs lack optimizer.nesterov" in runs.compare().caveats[-1]


@pytest.mark.parametrize("key", ["activation", "encoder"])
def test_a_component_in_a_model_is_one_setting_in_both_its_forms(runs: Runs, key: str) -> None:
    """By its name alone, and with keys of its own: those of the other name follow from it."""
    runs.add(0, 0.9, **{f"model__{key}": "relu"})
    runs.add(0, 0.8, **{f"model__{key}": {"name": "torch/GELU", "approximate": "none"}})
    groups = group_runs(find_runs([runs.folder]))
    assert {group.label for group in groups} == {f"model.{key}={n}" for n in ("relu", "torch/GELU")}
    assert not any("lack" in text for text in compare(groups).caveats)
    runs.add(0, 0.7, **{f"model__{key}": "torch/GELU"})
    assert f"some configs lack model.{key}.approximate" in runs.compare().caveats[-1]


def test_scores_are_all_of_one_split(runs: Runs) -> None:
    runs.add(0, 0.9, test={}, log=[0.1, 0.6])
    runs.add(0, 0.8, test={}, log=[0.2, 0.7], optimizer__lr=0.2)
    found = runs.compare()
    assert (found.split, found.results[0].scores) == ("validation", {0: 0.7})
    assert any("the validation split that chose" in text for text in found.caveats)
    runs.add(1, 0.1, optimizer__lr=0.2)
    runs.add(2, 0.1, optimizer__lr=0.2)
    assert runs.compare().split == "validation", "which all of them have"


def test_tasks_are_not_mixed(runs: Runs) -> None:
    runs.add(0, 0.9)
    runs.add(0, None, task={"name": "reconstruct"}, test={"mse": 0.01, "psnr": 20.0, "loss": 0.01})
    with pytest.raises(UserError, match=r"different tasks \(classify, reconstruct\)"):
        runs.compare()
    with pytest.raises(UserError, match=r"task differs \(classify, reconstruct\)"):
        runs.compare("loss")


def test_an_autoencoder_is_measured_by_its_error(runs: Runs) -> None:
    for seed, mse in enumerate((0.01, 0.02)):
        test = {"mse": mse, "psnr": 20.0 - mse, "ssim": 0.5}
        runs.add(0, None, task={"name": "reconstruct"}, test=test, optimizer__lr=0.1 + seed)
    assert runs.compare().metric.name == "mse"
    assert runs.compare().results[0].scores == {0: 0.01}
    assert runs.compare("psnr").results[0].scores == {0: pytest.approx(19.99)}


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"name": "cross_entropy"}, {"name": "focal"}, "loss differs (cross_entropy, focal)"),
        (
            {"name": "cross_entropy", "label_smoothing": 0.0},
            {"name": "cross_entropy", "label_smoothing": 0.4},
            "loss.label_smoothing differs (0, 0.4)",
        ),
        (
            {"name": "cross_entropy", "class_weights": None},
            {"name": "cross_entropy", "class_weights": "balanced"},
            "loss.class_weights differs (null, balanced)",
        ),
    ],
)
def test_losses_are_compared_with_equal_losses_alone(
    runs: Runs, one: dict[str, Any], other: dict[str, Any], told: str
) -> None:
    for seed in range(3):
        runs.add(seed, 0.9 + 0.01 * seed, loss=one)
        runs.add(seed, 0.8 - 0.01 * seed, loss=other)
    with pytest.raises(UserError) as refused:
        runs.compare("loss")
    assert told in str(refused.value)
    assert str(refused.value).endswith("compare by --metric accuracy")
    assert runs.compare("accuracy").results[0].group.settings, "the accuracy is the same thing"
    assert runs.compare().metric.name == "accuracy"


def test_a_task_that_is_measured_by_its_loss_is_compared_by_something_else(runs: Runs) -> None:
    for k in range(2):
        test = {"loss": 0.1, "dice": 0.5 + k / 10}
        path = runs.add(0, None, task={"name": "mine"}, loss={"name": f"l{k}"}, test=test)
        declare(path, monitor="loss", main_metric="loss", dice=True)
    found = runs.compare()
    assert found.metric.name == "dice"
    assert [r.scores[0] for r in found.results] == [0.6, 0.5]


def declare(path: Path, monitor: str = "", main_metric: str = "", **higher: bool | None) -> None:
    """Say in a run's summary what training writes of its task's metrics."""
    summary = json.loads((path / "summary.json").read_text())
    summary["metrics"] = {name: {"higher_is_better": value} for name, value in higher.items()}
    summary |= {"monitor": monitor, "main_metric": main_metric} if monitor else {}
    (path / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize("higher", [True, False])
def test_a_plugins_metric_goes_the_way_that_its_task_says(runs: Runs, higher: bool) -> None:
    for lr, score in ((0.1, 0.2), (0.2, 0.6)):
        for seed in range(3):
            value = score + 0.01 * seed * lr
            log = [value, value]
            path = runs.add(seed, None, task={"name": "mine"}, optimizer__lr=lr, log=log,
                            test={"loss": 1.0, "dist": value})  # fmt: skip
            rows = (path / "metrics.jsonl").read_text().replace("accuracy", "dist")
            (path / "metrics.jsonl").write_text(rows)
            summary = json.loads((path / "summary.json").read_text())
            summary["best"] = json.loads(rows.splitlines()[-1])
            (path / "summary.json").write_text(json.dumps(summary))
            declare(path, "dist", "dist", dist=higher)
    found = runs.compare()
    assert found.metric.name == "dist", "the task's own, not its loss"
    best = found.results[0].group.settings["optimizer.lr"]
    assert best == (0.2 if higher else 0.1)
    assert conclusion(found).startswith(f"A (optimizer.lr={best}) is better than B")


def test_a_metric_whose_direction_nobody_knows_ranks_nothing_unasked(runs: Runs) -> None:
    for lr, score in ((0.1, 0.2), (0.2, 0.6)):
        runs.add(0, None, task={"name": "mine"}, optimizer__lr=lr, test={"dist": score}, log=[1.0])
    with pytest.raises(UserError, match=r"write --metric dist:max or --metric dist:min"):
        runs.compare("dist")
    for direction, best in (("max", 0.2), ("min", 0.1)):
        found = runs.compare(f"dist:{direction}")
        assert found.results[0].group.settings["optimizer.lr"] == best
    with pytest.raises(UserError, match="write dist:max or dist:min"):
        runs.compare("dist:up")


def test_one_run_that_says_the_direction_speaks_for_older_ones(runs: Runs) -> None:
    runs.add(0, None, task={"name": "mine"}, optimizer__lr=0.2, test={"dist": 0.6}, log=[1.0])
    newer = runs.add(0, None, task={"name": "mine"}, test={"dist": 0.2}, log=[1.0])
    declare(newer, dist=False)
    assert runs.compare("dist").results[0].group.settings["optimizer.lr"] == 0.1
    declare(runs.add(1, None, task={"name": "mine"}, test={"dist": 0.2}, log=[1.0]), dist=True)
    with pytest.raises(UserError, match="better in some of these runs and worse in others"):
        runs.compare("dist")


def test_the_test_split_ranks_nothing(runs: Runs) -> None:
    for seed in range(3):
        runs.add(seed, 0.95 + 0.001 * seed, log=[0.5, 0.6])
        runs.add(seed, 0.90 + 0.002 * seed, log=[0.5, 0.7], optimizer__lr=0.2)
    found = runs.compare()
    assert [r.group.settings["optimizer.lr"] for r in found.results] == [0.2, 0.1]
    assert (found.split, found.ranked_by.split) == ("test", "validation")
    head = to_text(found).splitlines()[0].split()
    assert head == ["seeds", "validation", "accuracy", "test", "accuracy", "optimizer.lr"]
    assert conclusion(found).startswith("B (optimizer.lr=0.1) is better than A")
    as_dict = to_dict(found)
    assert as_dict["ranked_by"] == "validation_accuracy"
    assert [group["ranked_by"] for group in as_dict["groups"]] == pytest.approx([0.7, 0.6])


def test_without_a_validation_split_the_ranking_is_said_to_be_the_tests(runs: Runs) -> None:
    for k, accuracy in enumerate((0.8, 0.9)):
        path = runs.add(0, accuracy, optimizer__lr=0.1 + k)
        rows = (path / "metrics.jsonl").read_text().replace("validation_", "train_")
        (path / "metrics.jsonl").write_text(rows)
        summary = json.loads((path / "summary.json").read_text())
        summary["best"] = json.loads(rows.splitlines()[-1])
        (path / "summary.json").write_text(json.dumps(summary))
    found = runs.compare()
    assert found.ranked_by.split == "test"
    assert any("the test score itself ranks the groups" in text for text in found.caveats)


def test_epochs_chosen_by_different_metrics_are_told(runs: Runs) -> None:
    for monitor in ("accuracy", "loss"):
        declare(runs.add(0, 0.9, training={"monitor": monitor}), monitor, "accuracy")
    told = "the best epochs were chosen by different metrics (accuracy, loss)"
    assert any(told in text for text in runs.compare().caveats)


GAPS = st.lists(
    st.tuples(st.floats(-1, 1), st.floats(0.01, 2), st.integers(0, 10**6)), min_size=1, max_size=6
)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(GAPS, st.integers(3, 8))
def test_an_interval_excludes_zero_exactly_where_p_is_small(
    gaps: list[tuple[float, float, int]], seeds: int
) -> None:
    """Of several tests together, as Bonferroni's p and Student's interval by scipy."""
    from scipy import stats

    samples = [
        np.random.default_rng(seed).normal(mean, spread, seeds).tolist()
        for mean, spread, seed in gaps
    ]
    raw = [float(stats.ttest_1samp(sample, 0).pvalue) for sample in samples]
    found = corrected(samples, raw)
    assert [p for p, _ in found] == pytest.approx([min(1, len(raw) * p) for p in raw])
    for sample, (p, interval) in zip(samples, found, strict=True):
        assert interval.low is not None
        assert interval.high is not None
        assert (p < 0.05) == (not interval.low <= 0 <= interval.high)
        low, high = stats.t.interval(
            1 - 0.05 / len(samples), seeds - 1, loc=np.mean(sample), scale=stats.sem(sample)
        )
        assert (interval.low, interval.high) == pytest.approx((low, high))


@pytest.mark.slow
def test_corrected_intervals_cover_all_differences_at_once() -> None:
    """Ten pairs of five groups, alike and far apart: all are covered in 95 % of studies."""
    from itertools import combinations

    random, missed, truth = np.random.default_rng(3), 0, (0.5, 0.5, 0.52, 0.6, 0.9)
    for _ in range(250):
        groups = [random.normal(mean, 0.02, 5) for mean in truth]
        pairs = list(combinations(range(5), 2))
        samples = [(groups[a] - groups[b]).tolist() for a, b in pairs]
        values = [paired_p(groups[a].tolist(), groups[b].tolist()) for a, b in pairs]
        found = corrected(samples, [p for p in values if p is not None])
        for (a, b), (_, interval) in zip(pairs, found, strict=True):
            if not interval.low <= truth[a] - truth[b] <= interval.high:  # type: ignore[operator]
                missed += 1
                break
    assert missed / 250 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 250)


def test_no_interval_contradicts_its_p(runs: Runs) -> None:
    """Of three groups, a gap that one test alone would claim and three together do not."""
    for lr, values in {
        0.1: (0.90, 0.92, 0.91),
        0.2: (0.88, 0.89, 0.885),
        0.3: (0.86, 0.90, 0.87),
    }.items():
        for seed, value in enumerate(values):
            runs.add(seed, value, optimizer__lr=lr)
    for one in to_dict(runs.compare())["differences"]:
        assert one["claimed"] == (not one["low"] <= 0 <= one["high"]), one


def test_two_seeds_are_too_few_for_an_interval_and_that_is_said(runs: Runs) -> None:
    for seed, (one, other) in enumerate(((0.9, 0.6), (0.6, 0.7))):
        runs.add(seed, one)
        runs.add(seed, other, optimizer__lr=0.2)
    text = to_text(runs.compare())
    assert text.splitlines()[1].split()[:4] == ["A", "2", "75.00", "%"]
    assert "(± needs at least 3 seeds)" in text
    assert "± " not in text.replace("(±:", "").replace("(± needs", "")
    assert "2 shared seeds are too few (gap 10.00 points)" in text


def test_equal_scores_of_both_groups_are_no_difference(runs: Runs) -> None:
    for seed in range(3):
        for lr in (0.1, 0.2):
            runs.add(seed, 0.5 + 0.1 * seed, optimizer__lr=lr)
    assert "No difference can be claimed" in conclusion(runs.compare())
    assert "(gap 0.00 points, p = 1)" in conclusion(runs.compare())


def test_shared_seeds_may_turn_the_ranking_round(runs: Runs) -> None:
    """A has more on the whole by a seed that B lacks; where they meet, B is surely better."""
    for seed in range(4):
        runs.add(seed, 0.80 + 0.001 * seed)
        runs.add(seed, 0.82 + 0.0016 * seed, optimizer__lr=0.2)
    runs.add(4, 0.99)
    found = runs.compare()
    assert found.results[0].group.label == "optimizer.lr=0.1"
    assert conclusion(found).startswith(
        "B (optimizer.lr=0.2) is better than A (optimizer.lr=0.1) by 2.09 points of accuracy"
    )


def test_few_groups_are_all_told_of(runs: Runs) -> None:
    for k in range(3):
        for seed in range(3):
            runs.add(seed, 0.5 + 0.1 * k + 0.001 * seed * k, optimizer__lr=float(k))
    lines = to_text(runs.compare()).splitlines()
    for pair in ("A is better than B", "A is better than C", "B is better than C"):
        assert sum(line.startswith(pair) for line in lines) == 1
    assert "intervals and p corrected together for 3 tests" in "".join(lines)


def test_many_differing_keys_stand_below_one_another(runs: Runs) -> None:
    changes: list[dict[str, Any]] = [{}, {f"optimizer__k{k}": k for k in range(6)}]
    for change in changes:
        runs.add(0, 0.5, **change)
    lines = to_text(runs.compare()).splitlines()
    assert "what differs:" in lines
    assert ["optimizer.k5", "-", "5"] in [line.split() for line in lines]


def test_many_groups_are_tested_against_the_best(runs: Runs) -> None:
    for k in range(25):
        for seed in range(2):
            runs.add(seed, 0.5 + 0.01 * k + 0.001 * seed * k, optimizer__lr=float(k))
    found = runs.compare()
    assert len(found.differences) == 24
    assert {d.first.name for d in found.differences} == {"A"}
    assert any("only the best is tested against each other" in text for text in found.caveats)
    text = to_text(found)
    assert "and 13 more: --json has them all" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_its_terminal(runs: Runs, width: int) -> None:
    for seed in range(3):
        for k, lr in enumerate((0.1, 0.2)):
            runs.add(seed, 0.5 + 0.1 * k + 0.01 * seed, optimizer__lr=lr, model__hidden=[8 + k] * 4)
    with within(width):
        *tables, _claims = to_text(runs.compare()).split("\n\n")
    assert all(width_of(line) <= width for part in tables for line in part.splitlines())
    assert len(tables) == (2 if width == 60 else 1)


@pytest.mark.parametrize("ranked", ["accuracy", "loss"])
@pytest.mark.parametrize(
    ("losses", "shown", "told"),
    [
        ((0.5, 0.5), "-", "2 of 2 runs (undefined)"),
        ((None, None), "NaN", "2 of 2 runs (NaN)"),
        ((None, 0.5), "NaN", "2 of 2 runs (NaN in 1, undefined in 1)"),
    ],
)
def test_a_diverged_run_is_told_from_an_undefined_score(
    runs: Runs, losses: tuple[float | None, ...], shown: str, told: str, ranked: str
) -> None:
    for seed, loss in enumerate(losses):
        scores = {"accuracy": None, "loss": loss}
        runs.add(seed, None, optimizer__lr=9.0, test=scores)
        runs.add(seed, 0.5 + seed / 10)
    for name in (run.path / "summary.json" for run in find_runs([runs.folder])):
        summary = json.loads(name.read_text())
        summary["best"] |= {f"validation_{key}": v for key, v in summary["test"].items()}
        name.write_text(json.dumps(summary))
    found = runs.compare("accuracy")
    assert f"has no score in {told}: ranked last" in "\n".join(found.caveats)
    assert to_text(found).splitlines()[2].split()[2] == shown
    last = runs.compare(ranked).results[-1]
    assert last.group.settings["optimizer.lr"] == 9.0 or None not in losses


@pytest.mark.parametrize(("step", "told"), [(0, "diverged at step 0"), (1234, "step 1,234")])
def test_a_run_that_its_loss_ended_is_told_as_diverged(runs: Runs, step: int, told: str) -> None:
    path = runs.add(0, 0.5, finished=False)
    runs.add(1, 0.5)
    (path / "bad_batch.json").write_text(json.dumps({"step": step}))
    assert any(f"{path} (diverged at" in text and told in text for text in runs.compare().caveats)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    rows[-1]["step"] = step + 1
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not any("diverged" in text for text in runs.compare().caveats), "it was resumed since"
