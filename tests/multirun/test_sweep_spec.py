"""What a sweep's file may say, and which points and runs follow from it."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnrun.config import experiment as config
from cnnrun.config.document import parse
from cnnrun.config.experiment import load as load_experiment
from cnnrun.config.identity import identity, key_of
from cnnrun.config.shipped import config_names
from cnnrun.errors import ConfigError
from cnnrun.multirun.settings import changes, to_text
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.space import Range, grid_points, random_points
from cnnrun.multirun.sweep.spec import load


@pytest.fixture(autouse=True)
def _schema_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it anew for each point takes longer than what these tests look at."""
    monkeypatch.setattr(config, "experiment_model", cache(config.experiment_model))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)


@given(st.recursive(SCALARS | WORDS, lambda inner: st.lists(inner, max_size=4), max_leaves=8))
def test_a_value_comes_back_from_the_command_line_as_it_was(value: object) -> None:
    assert parse(to_text(value), "command line").values == value


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=4)))
def test_a_grid_has_every_combination_once(grid: dict[str, list[int]]) -> None:
    points = grid_points(grid)
    expected = 1
    for values in grid.values():
        expected *= len(values)
    assert len(points) == expected
    for key, values in grid.items():
        for value in values:
            assert any(point[key] == value for point in points)
    unique = {key: list(dict.fromkeys(values)) for key, values in grid.items()}
    assert len({tuple(point.values()) for point in points}) == len(grid_points(unique))


@given(st.floats(1e-6, 1), st.floats(1.001, 1e4), st.integers(0, 2**31), st.integers(1, 10))
def test_random_points_lie_in_their_ranges_and_a_longer_sweep_begins_alike(
    low: float, factor: float, seed: int, count: int
) -> None:
    high = low * factor
    space = {
        "a": Range(log_uniform=[low, high]),
        "b": Range(uniform=[-high, low]),
        "c": Range(int=[1, 3]),
        "d": Range(choice=["x", [1, 2]]),
    }
    points = random_points(space, count, seed)
    for point in points:
        assert low <= point["a"] <= high
        assert -high <= point["b"] <= low
        assert point["c"] in (1, 2, 3)
        assert point["d"] in ("x", [1, 2])
    assert random_points(space, count + 5, seed)[: len(points)] == points


def test_log_uniform_draws_spread_over_the_decades() -> None:
    points = random_points({"lr": Range(log_uniform=[1e-4, 1.0])}, 400, 0)
    below = sum(point["lr"] < 1e-2 for point in points) / len(points)
    assert 0.42 < below < 0.58  # half of the decades; of a uniform draw, one in a hundred


def test_a_space_of_few_choices_gives_each_once() -> None:
    points = random_points({"a": Range(choice=[1, 2]), "b": Range(choice=["x", "y"])}, 10, 0)
    assert sorted(map(str, points)) == sorted(
        str({"a": a, "b": b}) for a in (1, 2) for b in ("x", "y")
    )


def test_sections_are_changed_before_keys_inside_them() -> None:
    settings = {"optimizer.lr": 0.1, "optimizer": "adam"}
    assert changes(settings) == ["optimizer=adam", "optimizer.lr=0.1"]


def test_a_key_tells_what_is_computed_not_where(tiny: Path) -> None:
    values = load_experiment(tiny).to_dict()
    key = key_of(values)
    assert key_of({**values, "output": "x", "name": "y", "device": "cuda"}) == key
    assert key_of({**values, "seed": 1}) != key
    assert key_of(load_experiment(tiny, ["optimizer.lr=0.2"]).to_dict()) != key


def write(folder: Path, text: str) -> Path:
    file = folder / "sweep.yaml"
    file.write_text("base: tiny.yaml\n" + text)
    return file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("grd: {optimizer.lr: [1]}", "sweep.yaml:2:1: grd: unknown key; did you mean 'grid'?"),
        ("seeds: 2", "a sweep has exactly one of grid, random and optuna"),
        (
            "grid: {optimizer.lr: [1]}\nrandom: {trials: 1, space: {a: [1]}}",
            "a sweep has exactly one of grid, random and optuna",
        ),
        ("grid: {optimizer.lr: []}", "sweep.yaml:2:22: grid.optimizer.lr: expected"),
        (
            "grid:\n  optimzer.lr: [0.1]",
            "sweep.yaml:3:3: optimzer: unknown key; did you mean 'optimizer'?",
        ),
        (
            "grid:\n  optimizer.lr: [0.1, -1]",
            "sweep.yaml:3:23: optimizer.lr: expected greater than 0, got -1",
        ),
        ("grid: {model: [mpl]}", "sweep.yaml:2:16: model: unknown name 'mpl'; did you mean 'mlp'?"),
        ("grid: {seed: [1, 2]}", "sweep.yaml:2:8: seed: can't vary; use `seeds`"),
        ("grid: {name: [a, b]}", "name: can't vary; it is not part of what a run is"),
        ("grid: {device: [cpu, cuda]}", "device: can't vary; it is not part of what a run is"),
        (
            "grid: {training.checkpoint_every: [1 steps, 2 steps]}",
            "training.checkpoint_every: can't vary; runs with other values are the same run",
        ),
        ("grid: {dataset.threads: [1, 2]}", "the same run (where and how fast it is computed)"),
        (
            "optuna: {trials: 2, space: {optimizer.lr: {log_uniform: [0, 1]}}}",
            "log_uniform: the numbers must be above 0",
        ),
        (
            "optuna: {trials: 2, space: {optimizer.lr: {uniform: [-1, 1]}}}",
            "optimizer.lr: expected greater than 0, got -1.0",
        ),
        (
            "random: {trials: 2, space: {optimizer.lr: {uniform: [1, 0]}}}",
            "uniform: the first number must be less than the second",
        ),
        ("grid: {optimizer.lr: [1]}\nmetric: acuracy", "3:9: metric: 'acuracy' is not measured"),
        ("grid: {optimizer.lr: [1]}\nmetric: test_accuracy", "the test split may not choose"),
        ("grid: {optimizer.lr: [1]}\nset: {training.foo: 3}", "3:7: training.foo: unknown key"),
    ],
)
def test_mistakes_are_told_with_their_place_before_anything_runs(
    tiny: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Plan(load(write(tiny.parent, text)))
    assert problem in str(caught.value)
    assert not (tiny.parent / "sweeps").exists()


def test_changes_on_the_command_line_reach_the_sweep_or_its_base(tiny: Path) -> None:
    file = write(tiny.parent, "grid: {optimizer.lr: [0.1, 0.2]}")
    plan = Plan(load(file, ["seeds=2", "training.epochs=7", "seed=5"]))
    assert plan.seeds == [5, 6]
    assert plan.resolve(plan.points[0] or {}).training.epochs == 7
    with pytest.raises(ConfigError, match=r"command line: training\.foo=7: training\.foo"):
        Plan(load(file, ["training.foo=7"]))


def test_keys_by_other_tools_words_change_the_base_as_well(tiny: Path) -> None:
    text = "grid: {optimizer.learning_rate: [0.01, 0.02]}\nset: {training.epoch: 3}"
    plan = Plan(load(write(tiny.parent, text)))
    base = load_experiment(tiny)
    found = [plan.resolve(point or {}) for point in plan.points]
    assert [each.optimizer.lr for each in found] == [0.01, 0.02]  # type: ignore[attr-defined]
    assert {each.training.epochs for each in found} == {3} != {base.training.epochs}


def test_a_longer_search_is_the_same_sweep_and_another_base_another(tiny: Path) -> None:
    file = write(tiny.parent, "random: {trials: 2, space: {optimizer.lr: {uniform: [0.1, 1]}}}")
    plan = Plan(load(file))
    assert Plan(load(file, ["random.trials=9", "workers=3"])).identity() == plan.identity()
    assert Plan(load(file, ["training.epochs=9"])).identity() != plan.identity()
    for same in ("training.checkpoint_every=7 steps", "loggers=[csv]", "training.draw=false",
                 "device=auto", "name=other", "dataset.threads=1"):  # fmt: skip
        assert Plan(load(file, [same])).identity() == plan.identity(), same
    assert Plan(load(file, ["seeds=2"])).identity() != plan.identity()


def test_a_sweep_of_an_older_version_is_known_again(tiny: Path) -> None:
    """Trials lie in the storage under a hash of these names, whatever the keys are called now."""
    plan = Plan(
        load(write(tiny.parent, "grid: {optimizer.lr: [0.1, 0.2]}\nmetric: loss\nseeds: 2"))
    )
    asked = {"grid": {"optimizer.lr": [0.1, 0.2]}, "measure": "loss", "optuna": None}
    asked |= {"random": None, "seeds": 2}
    text = json.dumps([identity(plan.document.values), asked], sort_keys=True)
    assert plan.identity() == hashlib.sha256(text.encode()).hexdigest()[:8]


def test_shipped_sweeps_are_valid() -> None:
    names = config_names("sweep")
    assert "digits_lr" in names
    for name in names:
        assert len(Plan(load(Path(name))).points) > 1


def test_the_commands_of_a_plan_give_the_runs_that_it_looks_for(tiny: Path) -> None:
    plan = Plan(load(write(tiny.parent, "grid: {model.hidden: [[8], [16, 8]]}\nseeds: [3, 9]")))
    jobs = [job for trial in (0, 1) for job in plan.jobs(trial, plan.points[trial] or {})]
    assert len({job.key for job in jobs}) == 4
    for job in jobs:
        assert (
            key_of(load_experiment(tiny, [*job.changes, f"seed={job.seed}"]).to_dict()) == job.key
        )
    assert "'model.hidden=[16, 8]'" in jobs[2].command()


def test_who_joins_reads_the_same_sweep(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    text = "grid: {dataset.limit: [null, 100], optimizer: [{name: adam}, sgd]}\nseeds: 2\n"
    plan = Plan(load(write(tiny.parent, text), ["training.epochs=7", "workers=2"]))
    plan.sweep.folder.mkdir(parents=True)
    plan.base_file.write_text(plan.base_text())
    (plan.sweep.folder / "sweep.yaml").write_text(plan.sweep_text())
    joined = Plan(load(plan.sweep.folder / "sweep.yaml"))
    assert joined.identity() == plan.identity()
    assert joined.points == plan.points
    assert joined.jobs(0, plan.points[0] or {}) == plan.jobs(0, plan.points[0] or {})
