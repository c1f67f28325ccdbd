"""`cnnrun export`: other programs give the network's answers, or no file is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from cnnrun import load_model
from cnnrun.evaluation import export, export_formats
from cnnrun.evaluation.loading import open_trained
from tests.conftest import Command, slow_ones
from tests.small_run import small_run, write_test_images

__all__ = ["small_run"]


@pytest.mark.slow
def test_onnxruntime_gives_the_networks_answers(cnnrun: Command, small_run: Path) -> None:
    images = write_test_images(Path("images"), 7)
    model = load_model(small_run, device="cpu")
    ended = cnnrun("export", small_run, "--preprocessing", "-o", "x.onnx", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["real"]
    assert told["images"] == 16
    session = onnxruntime.InferenceSession("x.onnx")
    for batch in (images, images[:1], images[2:5]):  # any number of images
        (logits,) = session.run(None, {"images": batch.numpy()})
        np.testing.assert_allclose(logits, model(batch).numpy(), atol=1e-4)
    about = {entry.key: entry.value for entry in onnx.load("x.onnx").metadata_props}
    assert json.loads(about["classes"]) == list("0123456789")
    assert json.loads(about["mean"]) == model._parts.normalization.mean
    assert about["input"] == "N x 1 x 8 x 8, uint8, 0..255"


@pytest.mark.parametrize("format", slow_ones(["torch-export", "torchscript"], "torch-export"))
def test_torch_gives_the_networks_answers(cnnrun: Command, small_run: Path, format: str) -> None:
    images = write_test_images(Path("images"), 5)
    model = load_model(small_run, device="cpu")
    ended = cnnrun("export", small_run, "--format", format)
    assert ended.code == 0, ended.err
    file, extra = ended.out.strip(), {"cnnrun.json": ""}
    if format == "torchscript":
        run: Any = torch.jit.load(file, _extra_files=extra)
    else:
        run = torch.export.load(file, extra_files=extra).module()
    with torch.no_grad():
        for batch in (images, images[:1]):
            torch.testing.assert_close(run(model.normalize(batch)), model(batch))
    assert json.loads(extra["cnnrun.json"])["name"] == "small"


def test_safetensors_holds_the_weights(cnnrun: Command, small_run: Path) -> None:
    ended = cnnrun("export", small_run, "--format", "safetensors")
    model = load_model(small_run, device="cpu").module
    with safe_open(ended.out.strip(), "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
        assert all(torch.equal(file.get_tensor(k), v) for k, v in model.state_dict().items())
        assert json.loads(file.metadata()["classes"]) == list("0123456789")
    refused = cnnrun("export", small_run, "--format", "safetensors", "--preprocessing")
    assert "holds only weights" in refused.err


def test_a_file_that_answers_differently_is_not_kept(
    cnnrun: Command, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = export_formats.FORMATS["torchscript"]

    def wrong(network: Any, example: Tensor, file: Path, metadata: dict[str, str]) -> None:
        network.model.head.append(torch.nn.Tanh())
        kind.write(network, example, file, metadata)
        del network.model.head[-1]

    changed = export_formats.Kind(kind.ending, wrong, kind.open)
    monkeypatch.setitem(export_formats.FORMATS, "torchscript", changed)
    ended = cnnrun("export", small_run, "--format", "torchscript")
    assert ended.code == 1
    assert "answers differently" in ended.err
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_an_autoencoder_gives_pixels_and_code(cnnrun: Command, tmp_path: Path) -> None:
    (tmp_path / "ae.yaml").write_text(
        "task: reconstruct\ndataset: digits\nmodel: {name: conv_autoencoder, code: 4}\n"
        "device: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    run = Path(cnnrun("train", "ae.yaml", "-q").out.strip())
    _, parts, checkpoint = open_trained(run, device="cpu")
    file = export.export(parts, checkpoint, "torch-export", tmp_path / "ae.pt2", True).file
    pixels, code = torch.export.load(file).module()(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    assert (pixels.shape, code.shape) == ((3, 1, 8, 8), (3, 4))


def test_wrong_use(cnnrun: Command, small_run: Path) -> None:
    ended = cnnrun("export", small_run, "--format", "onxx")
    assert ended.code == 2
    assert "--format: unknown format 'onxx'; did you mean 'onnx'" in ended.err
