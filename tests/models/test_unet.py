"""U-Net on any network: the encoder's maps of each size, and a class for each pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from cnnrun import registry
from cnnrun.config.experiment import load
from cnnrun.engine.build import build
from cnnrun.errors import UserError
from cnnrun.models.feature_stages import last_of_each_size
from cnnrun.models.layer_outputs import LayerOutputs
from cnnrun.models.unet import Unet
from cnnrun.registry import models
from tests.conftest import Command, quick_ones, slow_ones
from tests.small_tasks import write

ENCODERS: list[Any] = [
    {"name": "cnn", "channels": [4, 8], "padding": "same"},
    {"name": "cnn", "channels": [4, 8, 8], "batch_norm": True, "pooling": "max"},
    "resnet",
    "vgg",
    "torchvision/resnet18",
    "torchvision/mobilenet_v3_small",
    "torchvision/efficientnet_b0",
    "torchvision/densenet121",
    "timm/resnet10t",
    "timm/convnext_atto",
]


def _name(encoder: Any) -> str:
    return str(encoder if isinstance(encoder, str) else encoder["name"])


@pytest.mark.parametrize(
    "encoder",
    slow_ones(ENCODERS, "vgg", "torchvision/efficientnet_b0", "torchvision/densenet121"),
    ids=_name,
)
@pytest.mark.parametrize("shape", quick_ones([(3, 64, 64), (3, 65, 47)], (3, 65, 47)), ids=str)
def test_a_class_for_each_pixel(encoder: Any, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = Unet(shape, 5, encoder=encoder)
    images = torch.randn(2, *shape)
    outputs = model(images)
    assert outputs.shape == (2, 5, *shape[1:])
    outputs.sum().backward()
    # All that there is is of use: with many processes, a weight without a gradient would wait.
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unused
    sizes = [maps.shape[2] for maps in model.encoder(images)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes) >= 2
    assert [maps.shape[1] for maps in model.encoder(images)] == model.encoder.channels


def test_the_maps_are_the_networks_own() -> None:
    """Cut after its last maps, a ResNet gives what each of its stages gave."""
    import torchvision

    torch.manual_seed(0)
    model = Unet((3, 64, 64), 2, encoder="torchvision/resnet18").eval()
    whole = torchvision.models.resnet18(num_classes=2).eval()
    whole.load_state_dict(model.encoder.maps.extractor.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    names = ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert list(last_of_each_size(whole, images)) == names
    seen: dict[str, torch.Tensor] = {}
    for name in names:
        whole.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.__setitem__(name, output)
        )
    whole(images)
    for name, maps in zip(names, model.encoder(images), strict=True):
        torch.testing.assert_close(maps, seen[name])


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"encoder": "mlp"}, "gives no feature maps of two sizes"),
        ({"encoder": "torchvision/vit_b_32"}, "gives no feature maps of two sizes"),
        ({"encoder": "cnn", "weights": "DEFAULT"}, "only torchvision/... and timm/..."),
        ({"encoder": "conv_autoencoder"}, "is an autoencoder"),
        ({"encoder": "cnn", "decoder": [8, 8, 8, 8, 8, 8]}, "decoder: 6 widths"),
    ],
)
def test_what_can_be_no_encoder_is_told(parameters: dict[str, Any], told: str) -> None:
    config = models.get("unet").schema().model_validate({"name": "unet", **parameters})
    with pytest.raises(UserError, match=told.replace(".", r"\.")):
        models.build(config, input_shape=(3, 64, 64), num_classes=2)


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("unet", "'unet' can't be used here"),
        ({"name": "cnn", "chanels": [4]}, "encoder: chanels: Extra inputs are not permitted"),
    ],
)
def test_without_a_config_an_encoder_is_checked_as_well(encoder: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Unet((3, 64, 64), 2, encoder=encoder)


def test_a_model_that_classifies_is_refused_for_masks(cnnrun: Command, tmp_path: Path) -> None:
    ended = cnnrun("check", write("segment", tmp_path), "model=cnn")
    assert ended.code == 2
    assert "segment needs logits of each pixel" in ended.err
    assert "use unet, whose encoder can be this model" in ended.err


def test_progressive_sizes_are_refused(cnnrun: Command, tmp_path: Path) -> None:
    ended = cnnrun("check", write("segment", tmp_path), "training.progressive_from=0.5")
    assert (ended.code, "masks keep their size" in ended.err) == (2, True)


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "focal"])
def test_each_loss_learns(cnnrun: Command, tmp_path: Path, loss: str) -> None:
    file = write("segment", tmp_path, training={"epochs": 4, "draw": False})
    run = Path(cnnrun("train", file, f"loss={loss}", "-q").out.strip())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.parametrize("encoder", slow_ones(ENCODERS, *ENCODERS[3:-1]), ids=_name)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_encoder_starts_from_a_classifiers_weights(
    tmp_path: Path, encoder: Any, prefix: str
) -> None:
    """Its maps are then the classifier's, whichever head that had; the decoder is new."""
    torch.manual_seed(1)
    config = registry.as_mapping(encoder)
    schema = models.get(config["name"]).schema()
    classifier = models.build(schema(**config), input_shape=(3, 32, 32), num_classes=7).eval()
    state = {f"{prefix}{key}": value for key, value in classifier.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    model = {"name": "unet", "encoder": encoder}
    weights = f"transfer.weights={tmp_path}/w.pt"
    file = write("segment", tmp_path, model=model)
    built = build(load(file, ["dataset.side=32", weights, "transfer.freeze=features"]))
    assert any("no trained ones were loaded for decoder.0" in note for note in built.notes)
    images = torch.rand(2, 3, 32, 32)
    names = list(last_of_each_size(classifier, images[:1]))
    wanted = LayerOutputs(classifier, names, images[:1])(images)
    for ours, theirs in zip(built.model.eval().encoder(images), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("freeze", "told"), [("features", True), ("all", True), ("encoder", False), ("none", False)]
)
def test_a_decoder_that_is_frozen_untrained_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, freeze: str, told: bool
) -> None:
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    encoder = {"name": "unet", "encoder": "torchvision/resnet18", "weights": "DEFAULT"}
    file = write("segment", tmp_path, model=encoder, transfer={"freeze": freeze})
    notes = build(load(file)).notes
    random = [note for note in notes if "what is frozen has random weights" in note]
    assert [("no trained ones were loaded for decoder.0.first.0" in note) for note in random] == (
        [True] if told else []
    )


def test_a_frozen_encoder_stays_and_the_decoder_learns(cnnrun: Command, tmp_path: Path) -> None:
    file = write("segment", tmp_path, transfer={"freeze": "encoder"})
    ended = cnnrun("train", file, "-q")
    assert ended.code == 0, ended.err
    assert "what is frozen has random weights" in ended.err
    from cnnrun.runs.checkpoint import Checkpoint

    run = Path(ended.out.strip())
    first, last = (
        Checkpoint.load(run / f"checkpoints/{name}.pt").model for name in ("best", "last")
    )
    if json.loads((run / "summary.json").read_text())["best_epoch"] == 2:
        again = cnnrun("train", file, "-q", "training.epochs=1").out.strip()
        first = Checkpoint.load(Path(again) / "checkpoints/last.pt").model
    encoder = [key for key in last if key.startswith("encoder.") and "running" not in key]
    assert all(torch.equal(first[key], last[key]) for key in encoder)
    assert not torch.equal(first["head.weight"], last["head.weight"])


SQUEEZING = """
from torch import nn
from cnnrun.plugin import models


class Squeeze(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, maps):
        return maps * self.linear(maps.mean((2, 3))).sigmoid()[:, :, None, None]


@models.register("squeezing")
class Squeezing(nn.Module):
    'Convolutions with linear layers between them.'

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3, padding=1), nn.ReLU(), Squeeze(4), nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), Squeeze(8),
        )
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))
"""


@pytest.mark.usefixtures("no_component_outlives_its_test")
@pytest.mark.slow
def test_an_encoders_linear_layer_is_no_head(cnnrun: Command, tmp_path: Path) -> None:
    """What is called `features` is all but the U-Net's own head, which alone trains here."""
    (tmp_path / "own.py").write_text(SQUEEZING)
    own = ("--plugin", "own.py", "model={name: unet, encoder: squeezing}", "-q")
    file = write("segment", tmp_path)
    first = cnnrun("train", file, *own, "output=first")
    assert first.code == 0, first.err
    before = first.out.strip()
    for transfer in ("freeze: features", "case: small_similar", "freeze: features, head: []"):
        keys = f"transfer={{weights: {before}, {transfer}}}"
        ended = cnnrun("train", file, *own, keys, f"output={transfer.replace(' ', '')}")
        assert ended.code == 0, ended.err
        held, now = (
            torch.load(Path(run) / f"checkpoints/{name}.pt", weights_only=True)["model"]
            for run, name in ((before, "best"), (ended.out.strip(), "last"))
        )
        if transfer == "freeze: features":
            changed = {key for key in held if not torch.equal(held[key], now[key])}
            assert changed == {"head.weight", "head.bias"}
        else:
            assert torch.equal(held["decoder.0.first.0.weight"], now["decoder.0.first.0.weight"])
            assert not torch.equal(held["head.weight"], now["head.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["describe", "lr-find"])
def test_other_commands(cnnrun: Command, tmp_path: Path, name: str) -> None:
    ended = cnnrun(name, write("segment", tmp_path))
    assert ended.code == 0, ended.err
