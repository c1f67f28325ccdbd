"""Loaded weights: found under whatever names, never initialized over, used as they were learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor

from cnnrun.config.experiment import load
from cnnrun.engine.build import build
from cnnrun.errors import ConfigError, UserError
from cnnrun.models.cnn import CNN
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.weights import load_weights, read_weights, under_names_of
from tests.conftest import Command

ZOO = """\
name: zoo
dataset: {name: digits, size: 32, channels: rgb, limit: 60, batch_size: 30}
model: {name: torchvision/resnet18}
initializer: kaiming_normal
optimizer: {name: sgd, lr: 0.01}
device: cpu
training: {epochs: 1, draw: false}
"""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What torchvision's server would send for a ResNet-18."""
    torch.manual_seed(3)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    return state


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    file = tmp_path / "zoo.yaml"
    file.write_text(ZOO)
    return file


@pytest.mark.parametrize(
    "door",
    [
        ["model.weights=DEFAULT"],
        ["transfer.weights=imagenet"],
        ["model.weights=DEFAULT", "transfer={freeze: features, head: [4]}"],
        ["model.weights=IMAGENET1K_V1", "transfer.weights=imagenet"],
    ],
)
def test_an_initializer_reaches_only_what_was_not_loaded(
    zoo: Path, trained: dict[str, Tensor], door: list[str]
) -> None:
    parts = build(load(zoo, [*door, "initializer={name: constant, value: 0.25}"]))
    for key, value in parts.model.state_dict().items():
        if key.startswith("fc."):
            wanted = 0.25 if value.dim() > 1 else 0.0
            assert torch.equal(value, torch.full_like(value, wanted)), key
        else:
            assert torch.equal(value, trained[key]), key
    assert any("initializer: constant for fc" in note for note in parts.notes)


@pytest.mark.parametrize("door", ["model.weights=DEFAULT", "transfer.weights=imagenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_trained_weights_bring_their_normalization(
    zoo: Path, trained: dict[str, Tensor], door: str, channels: int
) -> None:
    gray = ["dataset.channels=gray"] if channels == 1 else []
    parts = build(load(zoo, [door, *gray]))
    wanted = [0.485, 0.456, 0.406] if channels == 3 else [0.449]
    assert parts.normalization.mean == pytest.approx(wanted)
    # The kernels for gray are made of trained ones, and stay as they are, too.
    first = parts.model.get_parameter("conv1.weight")
    whole = trained["conv1.weight"]
    torch.testing.assert_close(first.data, whole if channels == 3 else whole.sum(1, keepdim=True))
    written = build(load(zoo, [door, *gray, "dataset.normalize=half"]))
    assert written.normalization.mean == [0.5] * channels


def test_timms_networks_bring_their_own_numbers(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def untrained(name: str, **options: Any) -> Any:
        model = create(name, **{**options, "pretrained": False})
        model.pretrained_cfg |= {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5)}
        return model

    monkeypatch.setattr(timm, "create_model", untrained)
    parts = build(load(zoo, ["model=timm/test_efficientnet", "model.weights=DEFAULT"]))
    assert (parts.normalization.mean, parts.normalization.std) == ([0.5] * 3, [0.5, 0.25, 0.5])


@pytest.mark.usefixtures("trained")
def test_two_sources_of_weights_are_refused(zoo: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.weights also names trained weights"):
        build(load(zoo, ["model.weights=DEFAULT", "transfer.weights=w.pt"]))


OWN = """\
import torch
from torch import nn
from cnnrun.registry import models


@models.register("own")
class Own(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU())
        weights = torch.arange(384.0).view(6, 64) / 384
        self.body[1].load_state_dict({"weight": weights, "bias": torch.ones(6)})
        self.head = nn.Linear(6, num_classes)

    def forward(self, images):
        return self.head(self.body(images))
"""


def test_a_plug_in_that_loads_its_own_weights(cnnrun: Command, tmp_path: Path) -> None:
    """They stay, and looking at the shape of such a model says nothing of what could not load."""
    (tmp_path / "own.py").write_text(OWN)
    config = tmp_path / "own.yaml"
    own = "own\nplugins: [own.py]\ntransfer: {freeze: body}"
    text = ZOO.replace("size: 32, channels: rgb, ", "")
    config.write_text(text.replace("{name: torchvision/resnet18}", own))
    ended = cnnrun("train", config)
    assert ended.code == 0, ended.err
    assert "random weights" not in ended.err
    run = Path(ended.out.split()[1])
    weights = Checkpoint.load(run / "checkpoints" / "last.pt").model
    assert torch.equal(weights["body.1.bias"], torch.ones(6))
    (tmp_path / "image.png").write_bytes(_png())
    for command in (["eval", run], ["predict", run, "image.png"]):
        told = cnnrun(*command, "--plugin", "own.py")
        assert told.code == 0, told.err
        assert "meta" not in told.err


def _png() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (8, 8), 9).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("transfer", "told"),
    [
        ("{freeze: features}", True),
        ("{case: small_similar}", True),
        ("{freeze: none}", False),
        ("{case: large_similar}", False),
    ],
)
def test_random_weights_that_are_frozen_are_told(
    cnnrun: Command, tiny: Path, transfer: str, told: bool
) -> None:
    ended = cnnrun("check", tiny, f"transfer={transfer}")
    assert ("what is frozen has random weights" in ended.err) == told


WAYS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "net.": lambda w: {f"net.{k}": v for k, v in w.items()},
    "Lightning": lambda w: {
        "state_dict": {f"model.{k}": v for k, v in w.items()} | {"loss.weight": torch.ones(2)}
    },
    "module.model.": lambda w: {f"module.model.{k}": v for k, v in w.items()},
    "timm's average": lambda w: {
        "state_dict": {k: torch.zeros_like(v) for k, v in w.items()}, "state_dict_ema": w
    },
    "without counts of batches": lambda w: {k: v for k, v in w.items() if "num_batches" not in k},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_found_as_other_programs_write_them(way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, model = (CNN((1, 8, 8), 10, channels=[4], batch_norm=True) for _ in range(2))
    torch.save(WAYS[way](source.state_dict()), tmp_path / "w.pt")
    load_weights(model, under_names_of(model, read_weights(tmp_path / "w.pt")))
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_what_does_not_fit_is_told_with_a_hint() -> None:
    model, colour = (CNN((channels, 8, 8), 10, channels=[4]) for channels in (1, 3))
    with pytest.raises(UserError, match=r"images with 3 channels: dataset.channels=rgb$"):
        load_weights(model, colour.state_dict())
    strange = {f"x.y.{key}": value for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"Their names start with 'x.y.'; save them without it$"):
        load_weights(model, strange)


def test_a_missing_file_is_told_at_its_key(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("check", tiny, "transfer={case: small_similar, weights: w.pth}")
    assert ended.code == 2
    assert "transfer.weights: w.pth: there is no such file" in ended.err


def test_a_head_of_one_layer_has_the_librarys_names(cnnrun: Command, tiny: Path) -> None:
    """So that what is exported loads into the library's own network; old names load, too."""
    model = "model={name: cnn, channels: [4]}"
    ended = cnnrun("train", tiny, model, "transfer={head: []}", "-q")
    run = Path(ended.out.strip())
    checkpoint = Checkpoint.load(run / "checkpoints" / "best.pt")
    assert checkpoint.model.keys() == CNN((1, 8, 8), 10, channels=[4]).state_dict().keys()
    before = json.loads(cnnrun("eval", run, "--json").out)
    for kind in ("weight", "bias"):
        checkpoint.model[f"head.1.1.{kind}"] = checkpoint.model.pop(f"head.1.{kind}")
    checkpoint.save(run / "checkpoints" / "best.pt")
    assert json.loads(cnnrun("eval", run, "--json").out) == before


def test_autoencoders_take_all_weights_and_freeze_by_name(cnnrun: Command, tiny: Path) -> None:
    changes = ["task=reconstruct", "model={name: conv_autoencoder, channels: [4], code: 8}",
               "loss=mse", "training={epochs: 1, draw: false}"]  # fmt: skip
    source = Path(cnnrun("train", tiny, "-q", *changes).out.strip())
    weights = f"transfer.weights={source}"
    ended = cnnrun("train", tiny, "-q", *changes, weights, "transfer.freeze=encoder")
    assert ended.code == 0, ended.err
    old, new = (
        Checkpoint.load(run / "checkpoints" / "last.pt").model
        for run in (source, Path(ended.out.strip()))
    )
    for key, value in old.items():
        assert torch.equal(new[key], value) == key.startswith("encoder"), key
    parts = build(load(tiny, [*changes, weights]))
    assert all(torch.equal(v, old[k]) for k, v in parts.model.state_dict().items())
    told = cnnrun("check", tiny, *changes, "transfer.freeze=features").err
    assert "name its parts instead, e.g. freeze: encoder" in told
