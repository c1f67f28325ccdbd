"""Configs: every mistake is named with file, line, column, key and nearest word; exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.config.experiment import Experiment, from_dict, load
from cnnrun.errors import ConfigError
from tests.conftest import EXPERIMENTS, Command

GOOD = """\
seed: 1
dataset:
  name: digits
  batch_size: 32
  augment: [horizontal_flip, {name: rotation, degrees: 10}]
model: {name: mlp, hidden: [16]}
loss: cross_entropy
optimizer:
  name: adam
  lr: 1e-3
schedule: constant
training:
  epochs: 2
"""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("lr: 1e-3", "learning_rte: 1e-3", "x.yaml:10:3: optimizer.learning_rte: unknown key; did "
         "you mean 'lr'?"),
        ("lr: 1e-3", "weigth_decay: 0", "optimizer.weigth_decay: unknown key; did you mean "
         "'weight_decay'?"),
        ("lr: 1e-3", "momentum: 0.9", "x.yaml:10:3: optimizer.momentum: unknown key"),
        ("seed: 1", "lr: 0.1", "x.yaml:1:5: lr: the same as optimizer.lr, which is also given"),
        ("seed: 1", "epochs: 3", "epochs: the same as training.epochs, which is also given"),
        ("seed: 1", "sede: 1", "x.yaml:1:1: sede: unknown key; did you mean 'seed'?"),
        ("seed: 1", "seed: yes", "x.yaml:1:7: seed: expected a whole number, got 'yes'"),
        ("seed: 1", "seed: -1", "seed: expected greater than or equal to 0, got -1"),
        ("lr: 1e-3", "lr: fast", "x.yaml:10:7: optimizer.lr: expected a number, got 'fast'"),
        ("lr: 1e-3", "lr: -1", "optimizer.lr: expected greater than 0, got -1"),
        ("lr: 1e-3", "lr: .nan", "optimizer.lr: expected a finite number, got nan"),
        ("lr: 1e-3", "lr: true", "optimizer.lr: expected a number, got true"),
        ("batch_size: 32", 'batch_size: "8"', "dataset.batch_size: expected a whole number, "
         "got '8'"),
        ("name: adam", "name: adem", "x.yaml:9:3: optimizer: unknown name 'adem'; did you mean "
         "'adam'?"),
        ("name: adam", "name: 5", "optimizer: unknown name 5; known: "),
        ("loss: cross_entropy", "loss: cros_entropi", "x.yaml:7:7: loss: unknown name "
         "'cros_entropi'; did you mean 'cross_entropy'?"),
        ("loss: cross_entropy", "loss: 3", "loss: expected a name or a mapping with `name`, got 3"),
        ("loss: cross_entropy", "loss: {gamma: 2}", "loss.gamma: unknown key"),
        ("model: {name: mlp, hidden: [16]}", "model: {hidden: [16]}", "model: expected a name or a "
         "mapping with"),
        ("model: {name: mlp, hidden: [16]}", "", "model: this key is required"),
        ("hidden: [16]", "hidden: 16", "model.hidden: expected a list, got 16"),
        ("hidden: [16]", "hidden: [a]", "x.yaml:6:29: model.hidden.0: expected a whole number"),
        ("degrees: 10", "degree: 10", "x.yaml:5:47: dataset.augment.1.degree: unknown key; did you "
         "mean 'degrees'?"),
        ("horizontal_flip", "horizontl_flip", "dataset.augment.0: unknown name 'horizontl_flip'; "
         "did you mean 'horizontal_flip'?"),
        ("epochs: 2", "epochs: 0", "training.epochs: expected greater than or equal to 1, got 0"),
        ("epochs: 2", "monitor: acuracy", "training.monitor: 'acuracy' is not measured; did you "
         "mean 'accuracy'?"),
        ("seed: 1", "device: warp", "device: expected text of the form"),
        ("seed: 1", "name: ../../etc", "name: expected text of the form"),
        ("seed: 1", "plugins: here.py", "plugins: expected a list of files"),
        ("seed: 1", "plugins: [here.py]", "plug-in here.py: there is no such file"),
    ],
)  # fmt: skip
def test_mistakes(cnnrun: Command, tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in GOOD
    (tmp_path / "x.yaml").write_text(GOOD.replace(old, new))
    ended = cnnrun("train", "x.yaml")
    assert ended.code == 2
    assert wanted in ended.err
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_all_mistakes_are_told_at_once(cnnrun: Command, tmp_path: Path) -> None:
    text = GOOD.replace("seed: 1", "sed: 1").replace("lr: 1e-3", "lr: x").replace(": 32", ": 0")
    (tmp_path / "x.yaml").write_text(text)
    ended = cnnrun("check", "x.yaml", "training.epochs=none")
    assert ended.code == 2
    for wanted in ("1:1: sed", "10:7: optimizer.lr", "4:15: dataset.batch_size", "training.epochs"):
        assert wanted in ended.err
    assert "command line: training.epochs=none" in ended.err


def test_overrides_pass_the_same_validation(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD)
    experiment = load(
        tmp_path / "x.yaml", ["optimizer=sgd", "optimizer.lr=0.5", "dataset.validation=50"]
    )
    assert experiment.optimizer.name == "sgd"
    assert experiment.optimizer.lr == 0.5  # type: ignore[attr-defined]
    assert experiment.dataset.validation == 50
    assert experiment.name == "x"
    with pytest.raises(ConfigError, match=r"command line: optimizer.lr=a: optimizer.lr: expected"):
        load(tmp_path / "x.yaml", ["optimizer.lr=a"])


def test_every_shipped_config_is_valid_and_survives_its_own_yaml(tmp_path: Path) -> None:
    files = EXPERIMENTS
    assert len(files) >= 4
    for file in files:
        experiment = load(file)
        copy = tmp_path / "copy.yaml"
        copy.write_text(experiment.to_yaml())
        assert load(copy).to_dict() == experiment.to_dict()
        assert experiment.name == file.stem


@given(
    st.floats(1e-12, 1e6),
    st.integers(0, 2**63 - 1),
    st.floats(0, 0.99),
    st.lists(st.integers(1, 99), min_size=1, max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_the_resolved_config_is_the_same_experiment(
    lr: float, seed: int, validation: float, hidden: list[int]
) -> None:
    values = yaml.safe_load(GOOD) | {"name": "x", "seed": seed}
    values["optimizer"]["lr"] = lr
    values["dataset"]["validation"] = validation
    values["model"]["hidden"] = hidden
    experiment = from_dict(values, "test")
    again = from_dict(yaml.safe_load(experiment.to_yaml()), "test")
    assert again.to_dict() == experiment.to_dict()
    assert isinstance(experiment, Experiment)


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("optimizer.lr=0.05", {"name": "sgd", "lr": 0.05}),
        ("optimizer.momentum=0.9", {"name": "sgd", "momentum": 0.9}),
        ("schedule.warmup_epochs=1", {"name": "constant", "warmup_epochs": 1.0}),
        ("loss.label_smoothing=0.1", {"name": "cross_entropy", "label_smoothing": 0.1}),
        ("task.tta=flip", {"name": "classify", "tta": "flip"}),
        ("training.epochs=3", {"epochs": 3}),
        ("dataset.validation=0.2", {"name": "digits", "validation": 0.2}),
    ],
)
def test_a_key_of_a_section_that_the_file_leaves_out(
    tmp_path: Path, override: str, wanted: dict[str, object]
) -> None:
    (tmp_path / "x.yaml").write_text("dataset: digits\nmodel: mlp\n")
    section = override.partition(".")[0]
    found = load(tmp_path / "x.yaml", [override]).to_dict()[section]
    assert found.items() >= wanted.items()


def test_a_default_of_the_task_does_not_reach_into_another_component(tmp_path: Path) -> None:
    text = "task: reconstruct\ndataset: digits\nmodel: conv_autoencoder\n"
    (tmp_path / "x.yaml").write_text(text)
    assert load(tmp_path / "x.yaml", ["loss.name=bce"]).loss.name == "bce"
    assert load(tmp_path / "x.yaml").loss.name == "mse"
