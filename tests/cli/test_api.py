"""cnnrun from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import cnnrun as package
from cnnrun import evaluate, load_model, load_run, train
from cnnrun.data.images.decoding import BadImageError
from cnnrun.errors import ConfigError, UserError
from tests.conftest import Command
from tests.small_run import small_run, write_test_images

__all__ = ["small_run"]


def test_importing_the_package_loads_nothing_and_offers_the_api() -> None:
    code = "import sys, cnnrun; print('torch' in sys.modules, 'train' in dir(cnnrun))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="trian"):
        _ = package.trian


def test_train_takes_a_dict_and_overrides(tmp_path: Path) -> None:
    run = train(
        {
            "dataset": {"name": "digits", "limit": 100},
            "model": {"name": "mlp", "hidden": [8]},
            "device": "cpu",
            "output": str(tmp_path),
            "training": {"epochs": 3, "draw": False},
        },
        "training.epochs=1",
    )
    assert [row["epoch"] for row in run.metrics] == [1]
    assert run.config["training"]["epochs"] == 1
    assert run.path.parent == tmp_path / "experiment"
    with pytest.raises(ConfigError, match="dataset: this key is required"):
        train({"model": "mlp"})
    with pytest.raises(ConfigError, match="did you mean 'digits_cnn'"):
        train("digit_cnn")


def test_a_run_shows_what_its_directory_holds(cnnrun: Command, small_run: Path) -> None:
    run = load_run(str(small_run))
    assert run.summary == json.loads((small_run / "summary.json").read_text())
    assert run.metrics[-1]["epoch"] == 2
    assert run.config["model"]["channels"] == [8, 16]
    scores = json.loads(cnnrun("eval", small_run, "--json").out)
    assert evaluate(small_run)["accuracy"] == run.evaluate()["accuracy"] == scores["accuracy"]
    assert run.summary["test"]["accuracy"] == scores["accuracy"]
    with pytest.raises(UserError, match="no such run"):
        load_run("nowhere")
    with pytest.raises(UserError, match="split: expected"):
        evaluate(small_run, "tset")


def test_show_returns_a_figure_that_a_notebook_shows(small_run: Path) -> None:
    figure = load_run(small_run).show("curves")
    assert len(figure.axes) > 0
    png = figure._repr_png_()  # what IPython asks an object for
    assert png.startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"show\('mistakes'\): cuont: unknown key"):
        load_run(small_run).show("mistakes", cuont=3)
    with pytest.raises(ConfigError, match="unknown plot"):
        load_run(small_run).show("curvs")


def test_a_model_prepares_images_as_training_did(small_run: Path, tmp_path: Path) -> None:
    images = write_test_images(tmp_path / "images", 6)
    model = load_model(small_run, device="cpu")
    assert (model.classes, model.input_shape) == (tuple("0123456789"), (1, 8, 8))
    probabilities = model.probabilities(images)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(model(images).softmax(1).numpy(), probabilities, atol=1e-6)
    summary = load_run(small_run).summary["normalization"]
    wanted = (images.float() / 255 - summary["mean"][0]) / summary["std"][0]
    torch.testing.assert_close(model.normalize(images), wanted)
    answers = model.predict([tmp_path / "images"], top=1)
    assert [best[0][0] for best in answers.values()] == [str(k) for k in probabilities.argmax(1)]
    with pytest.raises(UserError, match="expected uint8 images N x 1 x 8 x 8"):
        model.probabilities(images.float())
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"bad\.png"):
        model.predict([tmp_path / "bad.png"])
