"""Names that were changed: files and plug-ins with the former ones work, and people are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnrun.components.tasks.loss_contract import refuse_other_loss
from cnnrun.config.experiment import from_dict, load
from cnnrun.config.identity import key_of
from cnnrun.config.renamed import present
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.engine.build_data import build_dataset
from cnnrun.errors import ConfigError, UserError
from cnnrun.multirun.study import spec
from cnnrun.multirun.sweep import spec as sweep_spec
from cnnrun.plugin import Classify, Dataset, Split, datasets, losses

STYLIZE = """\
task: stylize
dataset: {name: NAME, file: "sample:china.jpg", longest: 32, steps: 1}
model: {name: NAME, stages: 1}
loss: {name: neural_style, styles: [{file: "sample:flower.jpg"}], weights: random}
"""
STUDY = """\
base: digits_cnn
variants: {a: {training.epochs: 1}, b: {training.epochs: 2}}
"""


def test_a_component_by_its_former_name_is_the_same_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("picture", "image"):
        (tmp_path / f"{name}.yaml").write_text(STYLIZE.replace("NAME", name))
    former = load(tmp_path / "picture.yaml", ["name=x"])
    told = capsys.readouterr().err
    place = f"{tmp_path}/picture.yaml:2:17"
    assert told == f"{place}: 'picture' is called 'image' now; both are understood\n"
    now = load(tmp_path / "image.yaml", ["name=x"])
    load(tmp_path / "picture.yaml")
    assert capsys.readouterr().err == ""
    assert former.to_dict() == now.to_dict()
    assert (former.dataset.name, former.model.name) == ("image", "image")


def test_a_run_by_a_former_name_is_the_same_run() -> None:
    now = from_dict({"name": "x", "task": "stylize", "dataset": "image", "loss": "mse"}, "here")
    values = now.to_dict()
    before = {**values, "dataset": {**values["dataset"], "name": "picture"}}
    before["model"] = {**values["model"], "name": "picture"}
    assert key_of(before) == key_of(values)
    assert present("dataset.file", "picture") == "picture"


def test_what_is_no_name_of_a_component_is_left_alone() -> None:
    with pytest.raises(ConfigError, match="optimizer"):
        from_dict({"name": "x", "dataset": "digits", "optimizer": "picture"}, "here")


@pytest.mark.parametrize("where", ["in the file", "on the command line", "both"])
def test_the_former_key_of_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    file = tmp_path / "study.yaml"
    text = "pictures: [curves]\n"
    file.write_text(STUDY + {"in the file": text, "both": text + "plots: []\n"}.get(where, ""))
    if where == "both":
        with pytest.raises(ConfigError, match="pictures"):
            spec.load(file)
        return
    study = spec.load(file, ["pictures=[curves]"] if where == "on the command line" else [])
    assert study.plots == ["curves"]
    assert "'pictures' is called 'plots' now" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["in the file", "on the command line"])
def test_measure_is_the_former_name_of_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    file, in_file = tmp_path / "runs.yaml", where == "in the file"
    changes = [] if in_file else ["measure=loss"]
    for load_runs, text in (
        (spec.load, STUDY),
        (sweep_spec.load, "base: digits_cnn\ngrid: {training.epochs: [1, 2]}\n"),
    ):
        file.write_text(text + ("measure: loss\n" if in_file else ""))
        assert load_runs(file, changes).metric == "loss"
    assert capsys.readouterr().err.count("'measure' is called 'metric' now") == 1


def test_a_source_and_a_loss_that_were_written_before() -> None:
    @datasets.register("older_source")
    def older(pictures: ImageOptions, *, classes: int = 2) -> Dataset:
        """As sources asked for the form of images."""
        side = (pictures.size or (8, 8))[0]
        images = torch.zeros(4, 1, side, side, dtype=torch.uint8)
        split = Split(images, torch.arange(4) % classes)
        return Dataset(tuple("abc"[:classes]), split, split)

    @losses.register("older_loss")
    class OlderLoss(nn.Module):
        """As losses said that they compare images."""

        of_pictures = True

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return (outputs - targets).square().flatten(1).mean(1)

    experiment = from_dict(
        {
            "name": "x",
            "dataset": {"name": "older_source", "size": 6},
            "model": "mlp",
            "loss": "mse",
        },
        "here",
    )
    assert build_dataset(experiment).input_shape == (1, 6, 6)
    with pytest.raises(UserError, match="this loss compares pixels, not labels"):
        refuse_other_loss(Classify(), OlderLoss())
