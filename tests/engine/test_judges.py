"""Style transfer with any network as the judge: what it sees, its weights, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from cnnrun.config.experiment import load
from cnnrun.engine.judge import open_judge
from cnnrun.errors import UserError
from cnnrun.evaluation.loading import open_trained
from cnnrun.models.network_features import Judge, NetworkFeatures
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import CONFIGS, Command

STYLIZE = CONFIGS / "stylize_network.yaml"
SMALL = ("dataset.longest=32", "dataset.steps=2", "training.epochs=4", "optimizer.max_iter=3",
         "loss.network={name: cnn, channels: [4, 8, 8]}", "loss.content_layers={features.1: 1}",
         "loss.style_layers={features.0: 1, features.2: 1}")  # fmt: skip
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


class InPlace(nn.Module):
    """What a layer gave is changed by the next one, and by the network's own code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.norm = nn.ReLU(inplace=True), nn.BatchNorm2d(4)
        self.unused = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(4 * 8 * 8, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.second(self.relu(self.first(images))))
        maps += 1
        maps = nn.functional.max_pool2d(torch.dropout(maps, 0.5, self.training), 2)
        answer: Tensor = self.head(maps.flatten(1))
        return answer


def _features(network: nn.Module, *layers: str, average: bool = False) -> NetworkFeatures:
    return NetworkFeatures(Judge(network, "it", MEAN, STD), layers, average)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["layer2", "layer1.0.bn1", "relu", "layer1"]),
        ("mobilenet_v3_small", ["features.4", "features.0"]),
        ("densenet121", ["features.denseblock1", "features.conv0"]),
    ],
)
def test_layers_give_what_torchvisions_own_extractor_gives(name: str, layers: list[str]) -> None:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    images = torch.rand(2, 3, 64, 48)
    normalized = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    wanted = {}
    for layer in layers:  # one at a time, as what follows a layer may change its output in place
        [output] = create_feature_extractor(network, [layer])(normalized).values()
        wanted[layer] = output.detach().clone()
    ours = _features(network, *layers)
    ours.train()
    found = ours(images)
    assert set(found) == set(layers)
    for layer in layers:
        torch.testing.assert_close(found[layer], wanted[layer])
    assert not any(p.requires_grad for p in ours.parameters())
    if name == "resnet18":
        assert not any("layer3" in key or "fc" in key for key in ours.state_dict())


def test_what_works_in_place_changes_nothing_and_a_head_of_another_size_is_left() -> None:
    torch.manual_seed(0)
    network = InPlace().eval()
    images = torch.rand(1, 3, 16, 16)
    given = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    first = network.first(given)
    norm = network.norm(network.second(first.relu()))
    found = _features(network, "norm", "first", "second")(images.requires_grad_())
    torch.testing.assert_close(found["first"], first)
    torch.testing.assert_close(found["norm"], norm)
    found["first"].sum().backward()
    assert images.grad is not None


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("secnod", "it has no layer 'secnod'; did you mean 'second'?"),
        ("conv9", "it has no layer 'conv9'; its last feature maps of each size are norm"),
        ("unused", "can't take images of 224 x 160"),
        ("head", "can't take images of 224 x 160"),
    ],
)
def test_layers_that_give_no_maps(layer: str, told: str) -> None:
    with pytest.raises(UserError) as failed:
        _features(InPlace(), layer)
    assert told in str(failed.value)


@pytest.mark.parametrize(
    ("name", "layer", "told"),
    [
        ("resnet18", "layer1.0.relu", "is used 2 times, and not once; its last feature maps"),
        ("resnet18", "fc", "gives no feature maps (N, C, height, width)"),
        ("swin_t", "features.1", "gives no feature maps (N, C, height, width)"),  # (N, h, w, C)
        ("vit_b_16", "encoder", "can't take images of 224 x 160"),
    ],
)
def test_layers_of_torchvision_that_give_no_maps(name: str, layer: str, told: str) -> None:
    with pytest.raises(UserError) as failed:
        _features(torchvision.models.get_model(name, weights=None), layer)
    assert told in str(failed.value)


def test_average_pooling_takes_the_place_of_the_networks_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1))
    images = torch.rand(1, 3, 16, 24)
    given = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    wanted = nn.functional.avg_pool2d(network[0](given), 3, 2, 1)
    torch.testing.assert_close(_features(network, "1", average=True)(images)["1"], wanted)
    with pytest.raises(UserError, match="pooling: it has no max pooling layers"):
        _features(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", average=True)


def test_networks_of_cnnrun_have_no_weights_of_their_own() -> None:
    told = "networks have weights of their own; name a file, a run, or `random`"
    with pytest.raises(UserError, match=told):
        open_judge("resnet", "imagenet", "auto", [])


@pytest.mark.slow
def test_weights_of_a_library_say_how_images_are_normalized(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    trained = torchvision.models.inception_v3(aux_logits=False, init_weights=False)
    file = tmp_path / "inception.pth"
    torch.save(trained.state_dict(), file)
    judge = open_judge("torchvision/inception_v3", str(file), "auto", [])
    assert (judge.mean, judge.std) == ([0.5] * 3, [0.5] * 3)
    ours = NetworkFeatures(judge, ["Conv2d_2b_3x3"], average=False)
    images = torch.rand(1, 3, 80, 96)
    extractor = create_feature_extractor(trained.eval(), ["Conv2d_2b_3x3"])
    wanted = extractor(images * 2 - 1)["Conv2d_2b_3x3"]
    torch.testing.assert_close(ours(images)["Conv2d_2b_3x3"], wanted)
    # The name of weights: torchvision's own, which are not fetched here.
    asked: list[str] = []

    def get_model(name: str, weights: Any = None, **_options: Any) -> nn.Module:
        asked.append(f"{name} {weights.name}")
        return torchvision.models.resnet18()

    monkeypatch.setattr("torchvision.models.get_model", get_model)
    judge = open_judge("torchvision/resnet18", "imagenet", "auto", [])
    assert asked == ["resnet18 IMAGENET1K_V1"]
    assert list(judge.mean) == [0.485, 0.456, 0.406]
    assert open_judge("torchvision/resnet18", None, "half", []).std == [0.5] * 3


def test_random_weights_are_always_the_same_and_leave_no_trace() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    networks = [open_judge("resnet", "random", "auto", []).network for _ in range(2)]
    assert torch.equal(torch.rand(3), expected)
    for ours, theirs in zip(*(n.state_dict().values() for n in networks), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_a_run_judges_with_its_own_weights_and_normalization(cnnrun: Command) -> None:
    ended = cnnrun("train", CONFIGS / "digits_cnn.yaml", "-q", "training.epochs=1",
                   "training.draw=false")  # fmt: skip
    run = Path(ended.out.strip())
    _, parts, checkpoint = open_trained(run)
    names = [name for name, layer in parts.model.named_modules() if isinstance(layer, nn.Conv2d)]
    judge = open_judge(str(run), None, "auto", [])
    assert judge.mean == checkpoint.normalization.mean
    ours = NetworkFeatures(judge, names[:2], average=False)
    images = torch.rand(1, 3, 8, 8)
    red, green, blue = images.unbind(1)
    gray = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    given = (gray - parts.pipeline.mean.cpu()) / parts.pipeline.std.cpu()
    first = parts.model.cpu().get_submodule(names[0])
    torch.testing.assert_close(ours(images)[names[0]], first(given))
    layers = "{" + names[0] + ": 1}"
    shared = ("train", STYLIZE, *SMALL[:4], f"loss.network={run}", "-q",
              f"loss.content_layers={layers}", f"loss.style_layers={layers}")  # fmt: skip
    for options, told in ((["loss.weights=random"], "has weights of its own"),):
        refused = cnnrun(*shared, *options)
        assert (refused.code, told in refused.err) == (2, True), refused.err
    done = cnnrun(*shared, "loss.weights=null")
    assert done.code == 0, done.err
    assert (Path(done.out.strip()) / "plots" / "style.png").is_file()
    model = json.dumps(load(CONFIGS / "digits_cnn.yaml").to_dict()["model"])
    named = cnnrun("check", STYLIZE, *SMALL[:4], f"loss.network={model}",
                   f"loss.weights={run}", f"loss.style_layers={layers}",
                   f"loss.content_layers={layers}")  # fmt: skip
    assert "is of a network of other images than RGB; name the run itself" in named.err


def test_a_weights_file_is_loaded_into_the_layers_that_are_needed(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from cnnrun.models.cnn import CNN

    trained = CNN((3, 32, 32), 7, channels=[4, 8])
    file = tmp_path / "w.safetensors"
    save_file(trained.state_dict(), file)
    wanted = {"name": "cnn", "channels": [4, 8]}
    with pytest.raises(UserError, match="normalize: the weights do not say how images were"):
        open_judge(wanted, str(file), "auto", [])
    judge = open_judge(wanted, str(file), "none", [])
    name = next(n for n, layer in trained.named_modules() if isinstance(layer, nn.Conv2d))
    ours = NetworkFeatures(judge, [name], average=False)
    images = torch.rand(1, 3, 10, 12)
    torch.testing.assert_close(ours(images)[name], trained.get_submodule(name)(images))


def test_a_network_of_timm_judges_with_random_weights_or_those_of_a_file(
    cnnrun: Command, tmp_path: Path
) -> None:
    layers = "{layer1: 1, layer2: 1}"
    shared = ("train", STYLIZE, *SMALL, "-q", "training.draw=false", "loss.network=timm/resnet10t",
              f"loss.content_layers={layers}", f"loss.style_layers={layers}")  # fmt: skip
    torch.manual_seed(5)
    torch.save(timm.create_model("resnet10t", pretrained=False).state_dict(), tmp_path / "w.pth")
    results = []
    for weights in ("random", "random", tmp_path / "w.pth"):
        normalize = [] if weights == "random" else ["loss.normalize=imagenet"]
        ended = cnnrun(*shared, f"loss.weights={weights}", *normalize)
        assert ended.code == 0, ended.err
        results.append((Path(ended.out.strip()) / "metrics.jsonl").read_text())
    assert results[0] == results[1]
    assert results[0] != results[2]


@pytest.mark.slow
def test_a_run_resumes_to_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]],
) -> None:
    whole, cut = killed_and_resumed(5, STYLIZE, *SMALL)
    pixels = [(path / "plots" / "result.png").read_bytes() for path in (whole, cut)]
    assert pixels[0] == pixels[1]
    levels = Checkpoint.load(whole / "checkpoints" / "last.pt").model
    assert levels["levels.1"].isfinite().all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["loss.network=vgg17"], "unknown name 'vgg17'; there are vgg16, vgg19"),
        (["loss.network=runs/nothing"], "no model, run or checkpoint is called 'runs/nothing'"),
        (["loss.network=torchvision/resnet19"], "torchvision has no model 'resnet19'"),
        (["loss.network={name: resnet, weights: x}"], "loss: x: there is no such run"),
        (["loss.network=image"], "can't be used here"),
        (["loss.network=mlp"], "network: mlp can't take images of 224 x 160"),
        (["loss.weights=imagenet"], "weights: only torchvision/... and timm/... networks"),
        (["loss.weights=none.pth"], "none.pth"),
        (["loss.normalize={mean: [0.5], std: [1]}"], "mean has 1 numbers"),
        (["loss.network=torchvision/inception_v3", "loss.content_layers={Mixed_7a: 1}",
          "loss.style_layers={Mixed_7a: 1}"], "can't take an image of 16 x 10 pixels"),
        (["loss.style_layers={features.9: 1}"], "there are features.0, features.1, features.2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(cnnrun: Command, changes: list[str], told: str) -> None:
    ended = cnnrun("check", STYLIZE, *SMALL, *changes)
    assert ended.code in (1, 2)
    assert told in ended.err
    assert "bug" not in ended.err
