"""By what sweeps and studies rank, decided before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnrun.config.shipped import config_names
from cnnrun.errors import ConfigError
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.spec import load
from tests.conftest import Command

LOSSES = "grid: {loss.label_smoothing: [0, 0.4]}\n"


def plan_of(folder: Path, base: Path | str, text: str) -> Plan:
    file = folder / "sweep.yaml"
    file.write_text(f"base: {base}\n{text}")
    return Plan(load(file))


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("grid: {optimizer.lr: [0.1, 0.2]}\n", "accuracy"),
        ("grid: {optimizer.lr: [0.1, 0.2]}\nmetric: loss\n", "loss"),
        ("grid: {optimizer.lr: [0.1, 0.2]}\nset: {training.monitor: loss}\n", "loss"),
        (LOSSES + "set: {training.monitor: loss}\n", "accuracy"),
        ("grid: {training.monitor: [loss, accuracy]}\n", "accuracy"),
        ("grid: {loss: [cross_entropy, focal]}\nset: {training.monitor: loss}\n", "accuracy"),
    ],
)
def test_trials_are_ranked_by_one_thing(tiny: Path, tmp_path: Path, text: str, metric: str) -> None:
    found = plan_of(tmp_path, tiny, text)
    assert found.metric.name == metric
    assert found.higher_is_better == (metric == "accuracy")


def test_autoencoders_of_different_losses_are_ranked_by_their_error(tmp_path: Path) -> None:
    base = tmp_path / "auto.yaml"
    base.write_text(
        "dataset: digits\nmodel: linear_autoencoder\ntask: reconstruct\noptimizer: adam\n"
    )
    assert plan_of(tmp_path, base, "grid: {loss: [mse, l1]}\n").metric.name == "mse"
    assert plan_of(tmp_path, base, "grid: {optimizer.lr: [0.1, 0.2]}\n").metric.name == "loss"


def test_values_of_different_losses_are_not_asked_for(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_of(tmp_path, tiny, LOSSES + "metric: loss\n")
    told = str(refused.value)
    assert "sweep.yaml:3:9: metric: runs of different losses can't be compared by 'loss'" in told
    assert "use accuracy" in told


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("loss", "runs of different losses can't be compared by 'loss'"),
        ("acuracy", "'acuracy' is not measured; did you mean 'accuracy'?"),
    ],
)
def test_a_study_says_so_before_it_trains(
    cnnrun: Command, tiny: Path, tmp_path: Path, metric: str, told: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        f"base: {tiny}\nmetric: {metric}\nvariants:\n  plain: {{}}\n"
        "  smooth: {loss.label_smoothing: 0.4}\n"
    )
    ended = cnnrun("study", file)
    assert ended.code == 2
    assert f"study.yaml:2:9: metric: {told}" in ended.err
    assert not list(tmp_path.glob("studies/*/runs"))


@pytest.mark.parametrize("kind", ["sweep", "study"])
def test_a_base_may_be_the_name_of_a_shipped_config(
    cnnrun: Command, tmp_path: Path, kind: str
) -> None:
    assert "digits_cnn" in config_names()
    file = tmp_path / "mine.yaml"
    varied = "grid: {optimizer.lr: [0.1]}" if kind == "sweep" else "variants: {a: {}, b: {seed: 1}}"
    varied = varied.replace("{seed: 1}", "{optimizer.lr: 0.5}")
    file.write_text(f"base: digits_cnn\n{varied}\n")
    ended = cnnrun(kind, file, "--dry-run")
    assert ended.code == 0, ended.err
    assert "cnnrun train" in ended.out
    file.write_text(f"base: digits_cn\n{varied}\n")
    wrong = cnnrun(kind, file, "--dry-run")
    assert wrong.code == 2
    assert "did you mean 'digits_cnn'?" in wrong.err
