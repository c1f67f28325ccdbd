"""`cnnrun new` and configs by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnrun.config.experiment import load
from cnnrun.config.shipped import config_names, find_config
from cnnrun.config.template import new_experiment
from cnnrun.errors import ConfigError
from cnnrun.registry import datasets, models
from tests.conftest import CONFIGS, EXPERIMENTS, Command


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "reconstruct", "multilabel", "regress", "segment"])
def test_what_new_writes_passes_check(cnnrun: Command, task: str) -> None:
    ended = cnnrun("new", "mine", "--task", task)
    assert ended.code == 0, ended.err
    assert ended.out == "mine.yaml\n"
    assert cnnrun("check", "mine.yaml", "device=cpu").code == 0
    again = cnnrun("new", "mine")
    assert again.code == 2
    assert "mine.yaml already exists" in again.err


@pytest.mark.parametrize(
    ("task", "targets"),
    [("classify", "labels"), ("multilabel", "label_sets"), ("regress", "values"),
     ("segment", "masks"), ("reconstruct", "labels")],
)  # fmt: skip
def test_a_data_set_that_is_named_has_the_targets_of_the_task(
    tmp_path: Path, task: str, targets: str
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(new_experiment("x", task, "shapes"))
    assert load(file).dataset.targets == targets  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", ["mine", "mine.yaml"])
def test_the_name_may_be_that_of_the_file(cnnrun: Command, given: str) -> None:
    assert cnnrun("new", given).out == "mine.yaml\n"
    assert load(Path("mine.yaml")).name == "mine"


@pytest.mark.slow
def test_every_model_and_dataset_can_begin_an_experiment(tmp_path: Path) -> None:
    """What is written is read back to the same, with all defaults made active."""
    file = tmp_path / "x.yaml"
    named = [("model", name) for name in models.names() if not name.endswith("/*")]
    named += [("dataset", name) for name in datasets.names()]
    without_default = {}
    for kind, name in named:
        try:
            text = new_experiment("x", overrides=[], **{kind: name})  # type: ignore[arg-type]
        except ConfigError as error:
            without_default[name] = str(error)
            continue
        file.write_text(text)
        written = load(file)
        assert getattr(written, kind).name == name
        file.write_text(_active(text))
        assert load(file).to_dict() == written.to_dict()
    assert "folder" in without_default
    assert all("this key is required" in told for told in without_default.values())
    assert all("give it here" in told for told in without_default.values())
    assert "mnist" not in without_default


def _active(text: str) -> str:
    """With each `#key: value` in force."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        bare = line.lstrip()
        if bare.startswith("#") and not bare.startswith("# "):
            lines[i] = line[: len(line) - len(bare)] + bare[1:]
    assert lines != text.splitlines()
    return "\n".join(lines)


def test_overrides_are_written(cnnrun: Command) -> None:
    ended = cnnrun("new", "mine", "--dataset", "folder", "dataset.root=a, b", "training.ema=0.9")
    assert ended.code == 0, ended.err
    experiment = load(Path("mine.yaml"))
    assert experiment.dataset.root == "a, b"  # type: ignore[attr-defined]
    assert experiment.training.ema == 0.9


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["x", "--task", "clasify"], "unknown task 'clasify'; did you mean 'classify'?"),
        (["x", "--model", "resnett"], "unknown name 'resnett'; did you mean 'resnet'?"),
        (["x", "--dataset", "folder"], "dataset.root: this key is required"),
        (["x", "training.epohcs=1"], "unknown key; did you mean 'epochs'?"),
        (["../x"], "name: expected text of the form"),
    ],
)
def test_mistakes(cnnrun: Command, arguments: list[str], wanted: str) -> None:
    ended = cnnrun("new", *arguments)
    assert ended.code == 2
    assert wanted in ended.err
    assert list(Path().iterdir()) == []


def test_configs_have_names(cnnrun: Command) -> None:
    """From any directory; a file here, then one in `configs`, come before a shipped one."""
    shipped = find_config(Path("digits_cnn"))
    assert shipped.read_text() == (CONFIGS / "digits_cnn.yaml").read_text()
    assert {file.stem for file in EXPERIMENTS} <= set(config_names())
    Path("configs").mkdir()
    Path("configs/digits_cnn.yaml").write_text(shipped.read_text())
    assert find_config(Path("digits_cnn")) == Path("configs/digits_cnn.yaml")
    Path("digits_cnn.yaml").write_text(shipped.read_text())
    assert find_config(Path("digits_cnn")) == Path("digits_cnn.yaml")
    assert cnnrun("check", "digits_cnn", "device=cpu").code == 0
    ended = cnnrun("train", "digits_cmm")
    assert ended.code == 2
    assert "did you mean 'digits_cnn'?" in ended.err
    assert "no such file" in cnnrun("train", "absent.yaml").err


def test_settings_of_one_config_are_not_those_of_the_next() -> None:
    first = new_experiment("x")
    assert new_experiment("x", overrides=["dataset.batch_size=5", "optimizer.lr=0.5"]) != first
    assert new_experiment("x") == first


@pytest.mark.slow
def test_describe_and_viz_take_names_of_configs(cnnrun: Command) -> None:
    """As `train` does; a run of that name would come first."""
    assert cnnrun("describe", "digits_cnn").out.startswith("CNN for images of 1x8x8")
    drawn = cnnrun("viz", "samples", "digits_cnn")
    assert drawn.code == 0, drawn.err
    assert Path("samples.png").read_bytes().startswith(b"\x89PNG")
    for command in (("describe",), ("viz", "samples")):
        ended = cnnrun(*command, "digits_cmm")
        assert ended.code == 2
        assert "did you mean 'digits_cnn'?" in ended.err
    Path("digits_cnn").mkdir()
    assert "config.yaml" in cnnrun("describe", "digits_cnn").err


@pytest.mark.parametrize(
    "command", ["train", "check", "crossval", "data", "describe", "sweep", "study"]
)
def test_a_setting_where_the_config_belongs_is_explained(cnnrun: Command, command: str) -> None:
    ended = cnnrun(command, "training.epochs=3", "digits_cnn")
    assert ended.code == 2
    kind = command if command in ("sweep", "study") else "config"
    assert f"training.epochs=3 is a setting; the {kind}'s file or name comes before it" in ended.err
