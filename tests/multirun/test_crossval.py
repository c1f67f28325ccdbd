"""Cross-validation: plain runs, one a fold, and answers for every image from a network apart."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnnrun.comparison.statistics import cross_validated_interval, mean_interval
from cnnrun.components.tasks.classify import Classify
from cnnrun.components.tasks.regress import Regress
from cnnrun.data.splits import fold_of_groups
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import ConfigError, Interrupted, UserError
from cnnrun.evaluation import out_of_fold
from cnnrun.evaluation.label_errors import likely_errors
from cnnrun.multirun import crossval
from cnnrun.multirun.launcher import workers
from cnnrun.multirun.launcher.train_jobs import LaunchOptions
from cnnrun.registry import losses
from tests.conftest import Command
from tests.forking import fork_runs
from tests.small_tasks import write

QUIET = LaunchOptions(workers=2, quiet=True)
BASE = """\
dataset: {name: digits, batch_size: 64, limit: 300}
model: {name: mlp, hidden: [16]}
optimizer: {name: adam, lr: 0.01}
device: cpu
training: {epochs: 2, draw: false}
"""


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, crossval.Scored]]:
    """A folder with a cross-validation of 3 folds, and what it found."""
    folder = tmp_path_factory.mktemp("crossval")
    (folder / "x.yaml").write_text(BASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.MonkeyPatch.context() as forking:
            fork_runs(forking)
            found = crossval.run(Path("x.yaml"), 3, options=QUIET)
        yield folder, found


@pytest.mark.slow
def test_each_fold_is_the_plain_run(
    cnnrun: Command, folded: tuple[Path, crossval.Scored], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = folded
    monkeypatch.chdir(folder)
    for number, run in enumerate(found.runs, start=1):
        ended = cnnrun("train", "x.yaml", f"dataset.fold={number}/3", "output=plain", "-q")
        plain = Path(ended.out.strip())
        log = (run / "metrics.jsonl").read_bytes()
        assert (plain / "metrics.jsonl").read_bytes() == log
        last = json.loads(log.splitlines()[-1])
        assert found.folds["accuracy"][number - 1] == pytest.approx(last["validation_accuracy"])
        assert found.folds["loss"][number - 1] == pytest.approx(last["validation_loss"], rel=1e-5)


def test_every_image_is_answered_once_by_a_network_apart(
    folded: tuple[Path, crossval.Scored],
) -> None:
    _, found = folded
    rows = list(csv.DictReader(found.predictions[0].read_text().splitlines()))
    assert len({row["id"] for row in rows}) == len(rows) == 300
    assert [int(row["id"]) for row in rows] == sorted(int(row["id"]) for row in rows)
    right = [row["true"] == row["predicted"] for row in rows]
    assert np.mean(right) == pytest.approx(found.all_images["accuracy"])
    for number in (1, 2, 3):
        own = [r for r, row in zip(right, rows, strict=True) if row["fold"] == str(number)]
        assert np.mean(own) == pytest.approx(found.folds["accuracy"][number - 1])
    shares = [sum(float(row[f"probability of {k}"]) for k in range(10)) for row in rows]
    np.testing.assert_allclose(shares, 1)
    written = json.loads(found.predictions[0].with_name("crossval.json").read_text())
    assert written == json.loads(json.dumps(found.to_dict()))
    low, high = found.interval("accuracy")[1:]
    assert f"{100 * low:.2f} % to {100 * high:.2f} %" in found.to_text()  # type: ignore[operator]


def test_what_is_trained_is_not_trained_again(
    folded: tuple[Path, crossval.Scored], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = folded
    monkeypatch.chdir(folder)

    def start(*_: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(workers.Workers, "_start", start)
    again = crossval.run(Path("x.yaml"), 3, options=QUIET)
    assert again.to_dict() == found.to_dict()


@pytest.mark.slow
def test_a_stopped_cross_validation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(BASE)
    fork_runs(monkeypatch)
    taken = workers.Workers._fill

    def fill_once(self: Any, queue: Any) -> None:
        taken(self, queue)
        if not queue.has_more() and not self.running:
            return
        if len(list(Path("crossval").glob("x/runs/*/*/summary.json"))) >= 1:
            raise Interrupted("stopped", 143)

    with monkeypatch.context() as stopping:
        stopping.setattr(workers.Workers, "_fill", fill_once)
        with pytest.raises(Interrupted):
            crossval.run(Path("x.yaml"), 2, options=LaunchOptions(1, quiet=True))
    done = Path("crossval").glob("x/runs/*/*/summary.json")
    before = {path: path.stat().st_mtime_ns for path in done}
    assert before
    found = crossval.run(Path("x.yaml"), 2, options=LaunchOptions(1, quiet=True))
    assert len(found.runs) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_fold_that_was_killed_goes_on_to_the_same_scores(
    folded: tuple[Path, crossval.Scored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(BASE)
    fork_runs(monkeypatch)
    take = Trainer.train_step

    def take_or_die(self: Trainer, *batch: Any) -> None:
        if self.progress.step == 3 and self.experiment.dataset.fold == "2/3":
            os.kill(os.getpid(), signal.SIGKILL)
        take(self, *batch)

    often = ["training.checkpoint_every=2 steps"]
    with monkeypatch.context() as killing:
        killing.setattr(Trainer, "train_step", take_or_die)
        with pytest.raises(UserError, match="fold 2, seed 0 failed"):
            crossval.run(Path("x.yaml"), 3, often, options=LaunchOptions(1, quiet=True))
    started = set(Path("crossval/x/runs/x").iterdir())
    found = crossval.run(Path("x.yaml"), 3, often, options=QUIET)
    assert started <= set(Path("crossval/x/runs/x").iterdir())
    assert found.runs[1].resolve() in {run.resolve() for run in started}
    assert found.folds == folded[1].folds


OWN_LOSS = """\
import torch
from cnnrun.plugin import losses

@losses.register("mine")
class Mine(torch.nn.Module):
    def forward(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["in the file", "as an option"])
def test_own_code_of_the_experiment_is_that_of_its_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whoever trains by a file has agreed to the code that it names, and is not asked again."""
    monkeypatch.chdir(tmp_path)
    fork_runs(monkeypatch)
    Path("own.py").write_text(OWN_LOSS)
    head = "plugins: [own.py]\n" if place == "in the file" else ""
    Path("x.yaml").write_text(head + BASE.replace("epochs: 2", "epochs: 1") + "loss: mine\n")
    options = LaunchOptions(2, plugins=() if head else ("own.py",), quiet=True)
    try:
        found = crossval.run(Path("x.yaml"), 2, options=options)
    finally:
        losses.forget(str(tmp_path / "own.py"))
    assert len(found.predictions[0].read_text().splitlines()) == 301


@pytest.mark.slow
def test_under_several_seeds_each_fold_is_the_plain_run_of_its_seed(
    cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_runs(monkeypatch)
    Path("x.yaml").write_text(BASE)
    ended = cnnrun("crossval", "x.yaml", "--folds", 2, "--seeds", "4,7", "--json", "-q")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["folds"], found["seeds"], found["images"]) == (2, [4, 7], 300)
    plain = []
    for seed, fold in ((4, 1), (4, 2), (7, 1), (7, 2)):
        settings = [f"dataset.fold={fold}/2", f"seed={seed}", "output=plain", "-q"]
        run = Path(cnnrun("train", "x.yaml", *settings).out.strip())
        plain.append(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]))
    scores = [row["validation_accuracy"] for row in plain]
    assert found["scores"]["accuracy"]["folds"] == pytest.approx(scores)
    reach = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1) * np.var(scores, ddof=1))
    middle = np.mean(scores)
    assert found["scores"]["accuracy"]["low"] == pytest.approx(middle - reach)
    assert found["scores"]["accuracy"]["high"] == pytest.approx(middle + reach)
    for file in map(Path, found["predictions"]):
        ids = [row["id"] for row in csv.DictReader(file.read_text().splitlines())]
        assert len(set(ids)) == len(ids) == 300
    again = cnnrun("crossval", "x.yaml", "--folds", 2, "--seeds", "4,7")
    assert "2 folds, 300 images, each held out once with each of 2 seeds" in again.out
    assert "finished" not in again.err, "nothing is trained twice"
    suspects = cnnrun("data", "--model", "crossval/x")
    assert "(cross-validation, 2 folds, mean of 2 seeds)" in suspects.out, suspects.err


def test_a_score_that_some_folds_leave_undefined_is_of_the_others(tmp_path: Path) -> None:
    folds = {"r2": [0.5, None, 0.7], "mae": [1.0, 2.0, 3.0]}
    found = crossval.Scored("x", Regress, folds, {}, [tmp_path] * 3, [tmp_path / "p.csv"], 30, [0])
    assert found.interval("r2").mean == pytest.approx(0.6)
    assert "R2: defined in 2 of 3" in found.to_text()
    assert found.to_dict()["scores"]["r2"]["folds"] == [0.5, None, 0.7]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regress", "multilabel", "segment"])
def test_every_task_is_cross_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fork_runs(monkeypatch)
    training = {"epochs": 1, "draw": False}
    found = crossval.run(write(task, tmp_path, training=training), 2, options=QUIET)
    rows = list(csv.DictReader(found.predictions[0].read_text().splitlines()))
    assert len(rows) == found.images == 120
    wanted = {"regress": "predicted ", "multilabel": "probability of ", "segment": "losses"}[task]
    assert any(column.startswith(wanted) for column in rows[0])
    assert set(found.folds) == set(found.all_images)


@pytest.mark.slow
def test_groups_stay_together_and_classes_keep_their_shares(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of 30 videos, a fifth of them of a rare class: each fold has its share of these."""
    random = np.random.default_rng(0)
    for video in range(30):
        for frame in range(3 + video % 3):
            kind = "rare" if video % 5 == 0 else "usual"
            file = tmp_path / "photos" / kind / f"video{video}" / f"{frame}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
    Path("x.yaml").write_text(
        "dataset: {name: folder, root: photos, group: folder, size: 8, test: 0.2}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    fork_runs(monkeypatch)
    found = crossval.run(Path("x.yaml"), 4, options=QUIET)
    rows = list(csv.DictReader(found.predictions[0].read_text().splitlines()))
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(str(Path(row["image"]).parent), set()).add(row["fold"])
    assert all(len(own) == 1 for own in folds.values())
    rare = [next(iter(own)) for video, own in folds.items() if "rare" in video]
    assert len(rare) >= 4
    assert max(map(rare.count, "1234")) - min(map(rare.count, "1234")) <= 1
    shown = cnnrun("crossval", "x.yaml", "--folds", 4, "--dry-run").out.splitlines()
    assert len(shown) == 4
    assert "dataset.fold=4/4 dataset.stratify=true" in shown[3]


def test_folds_of_samples_on_their_own_are_dealt_exactly() -> None:
    random = np.random.default_rng(1)
    draws, strata = random.random(103), random.integers(0, 3, 103)
    part = fold_of_groups(draws, strata, 4)
    for label in range(3):
        counts = np.bincount(part[strata == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    order = random.permutation(103)
    assert np.array_equal(fold_of_groups(draws[order], strata[order], 4), part[order])


def test_the_corrected_interval_covers_and_the_plain_one_does_not() -> None:
    """Ridge regression on 40 points, 300 times: the truth is the error on endless new ones."""
    random, count, folds, width = np.random.default_rng(0), 40, 5, 12
    truth = random.standard_normal(width)
    corrected = plain = 0
    errors, intervals = [], []
    for _ in range(300):
        x = random.standard_normal((count, width))
        y = x @ truth + random.standard_normal(count)
        scores = []
        for fold in range(folds):
            test = np.arange(count) % folds == fold
            a, b = x[~test], y[~test]
            fit = np.linalg.solve(a.T @ a + np.eye(width), a.T @ b)
            scores.append(float(((x[test] @ fit - y[test]) ** 2).mean()))
            errors.append(float(((fit - truth) ** 2).sum()) + 1)
        intervals.append((mean_interval(scores), cross_validated_interval(scores)))
    expected = np.mean(errors)
    for narrow, wide in intervals:
        plain += narrow.low <= expected <= narrow.high  # type: ignore[operator]
        corrected += wide.low <= expected <= wide.high  # type: ignore[operator]
    print(f"covered: {corrected / 300:.1%} corrected, {plain / 300:.1%} as if independent")
    assert 0.92 <= corrected / 300 <= 0.995
    assert plain < corrected - 10


def test_the_corrected_interval_is_the_papers() -> None:
    values = [0.91, 0.93, 0.9, 0.95, 0.92]
    found = cross_validated_interval(values)
    reach = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 1 / 4) * np.var(values, ddof=1))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((found.mean - reach, found.mean + reach))
    assert cross_validated_interval([0.5, 0.5]).low is None


@pytest.mark.parametrize(
    ("change", "told"),
    [("dataset.fold=1/5", "crossval trains every fold; leave it out"), ("task=stylize", "")],
)
def test_what_can_not_be_divided_is_refused(
    cnnrun: Command, tmp_path: Path, change: str, told: str
) -> None:
    (tmp_path / "x.yaml").write_text(BASE)
    ended = cnnrun("crossval", "x.yaml", change)
    assert ended.code == 2
    assert told in ended.err
    with pytest.raises(ConfigError, match="--folds: at least 2, got 1"):
        crossval.run(Path("x.yaml"), 1)


def plain_confident_learning(labels: list[int], shares: list[list[float]]) -> list[int]:
    """Algorithm 1 of Northcutt et al. 2021 with loops, ranked by the normalized margin."""
    count = len(shares[0])
    thresholds = []
    for k in range(count):
        own = [p[k] for p, label in zip(shares, labels, strict=True) if label == k]
        thresholds.append(sum(own) / len(own) if own else float("inf"))
    found = []
    for i, (p, label) in enumerate(zip(shares, labels, strict=True)):
        able = [k for k in range(count) if p[k] >= thresholds[k]]
        if able and max(able, key=lambda k: p[k]) != label:
            found.append((p[label] - max(p[k] for k in range(count) if k != label), i))
    return [i for _, i in sorted(found)]


@pytest.mark.parametrize("seed", range(5))
def test_likely_errors_are_those_of_confident_learning(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.integers(0, 4, 300)
    logits = random.standard_normal((300, 4)) + 3 * np.eye(4)[true]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flipped = random.random(300) < 0.15
    labels = np.where(flipped, (true + 1) % 4, true)
    found = likely_errors(labels, shares)
    assert found.tolist() == plain_confident_learning(labels.tolist(), shares.tolist())
    assert flipped[found[:20]].mean() > 0.9  # chance: 0.15


def test_wrong_labels_are_listed_and_drawn(
    cnnrun: Command, folded: tuple[Path, crossval.Scored], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = folded
    ended = cnnrun("data", "--model", folder / "crossval/x", "--json")
    assert ended.code == 0, ended.err
    held = json.loads(ended.out)
    assert held["looked_at"] == 300
    margins = [row["margin"] for row in held["suspects"]]
    assert margins == sorted(margins)
    assert all(row["label"] != row["suggested"] for row in held["suspects"])
    assert cnnrun("viz", "suspects", folder / "crossval/x", "-o", "s.png").code == 0
    alone = cnnrun("data", "--model", folder / found.runs[0])
    assert "validation and test images; cnnrun crossval covers all" in alone.out
    monkeypatch.chdir(folder)
    report = cnnrun("data", "x.yaml", "--model", folder / "crossval/x").out
    assert "labels may be wrong (cross-validation, 3 folds)" in report
    assert "class" in report
    assert "name a config, or a run by --model" in cnnrun("data").err


@pytest.mark.slow
def test_labels_that_were_corrected_since_are_no_suspects(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_runs(monkeypatch)
    random = np.random.default_rng(0)
    for k in range(40):
        image = random.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{k}.png")

    def label(swapped: set[str]) -> None:
        rows = [f"{k}.png,{'ab'[(k + (f'{k}.png' in swapped)) % 2]}" for k in range(40)]
        (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))

    label(set())
    (tmp_path / "x.yaml").write_text(
        "name: x\ndataset: {name: csv, file: t.csv}\nmodel: {name: mlp, hidden: [8]}\n"
        "device: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    assert cnnrun("crossval", "x.yaml", "--folds", "2").code == 0

    def suspects() -> tuple[set[str], str]:
        held = json.loads(cnnrun("data", "--model", "crossval/x", "--json").out)
        return {Path(row["image"]).name for row in held["suspects"]}, held["source"]

    before, source = suspects()
    assert len(before) > 2
    assert source == "cross-validation, 2 folds"
    corrected = set(sorted(before)[:2])
    label(corrected)
    assert suspects() == (before - corrected, f"{source}; 2 labels have been changed since")


def test_no_interval_reaches_where_no_score_can_be(tmp_path: Path) -> None:
    folds: dict[str, list[float | None]] = {"accuracy": [0.99, 0.99, 0.85]}
    found = crossval.Scored("x", Classify, folds, {}, [tmp_path] * 3, [tmp_path / "p.csv"], 30, [0])
    high = found.interval("accuracy").high
    assert high is not None
    assert high > 1
    assert " to 100.00 %" in found.to_text()


def test_the_predictions_of_all_seeds_judge_a_label(tmp_path: Path) -> None:
    """The images of the first seed, by the mean over the seeds that have them; no stale file."""
    held = {"predictions.csv": [0, 1, 2, 3], "seed1-predictions.csv": [3, 1, 0, 9]}
    random = np.random.default_rng(0)
    drawn: dict[int, list[float]] = {}
    for name, ids in {**held, "seed2-predictions.csv": [0, 1, 2, 3]}.items():
        lines = ["id,image,fold,true,predicted,probability of a,probability of b"]
        for number in ids:
            share = float(random.random())
            if name in held:
                drawn.setdefault(number, []).append(share)
            lines.append(f"{number},{number}.png,1,a,a,{share},{1 - share}")
        (tmp_path / name).write_text("\n".join(lines))
    names = [f"elsewhere/{name}" for name in held]
    (tmp_path / "crossval.json").write_text(json.dumps({"predictions": names}))
    found = out_of_fold.mean_over_seeds(out_of_fold.read_all(tmp_path))
    assert found.ids.tolist() == [0, 1, 2, 3]
    means = [np.mean(drawn[number]) for number in range(4)]
    np.testing.assert_allclose(found.probabilities[:, 0], means)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    (tmp_path / "crossval.json").unlink()
    assert len(out_of_fold.read_all(tmp_path)) == 1, "an unfinished one has no more"
