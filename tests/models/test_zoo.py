"""torchvision's and timm's networks: every one takes our images and classes."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnrun.errors import UserError
from cnnrun.models import zoo
from cnnrun.models.channels import with_channels
from cnnrun.models.resnet import ResNet
from cnnrun.models.vgg import VGG
from cnnrun.models.zoo_weights import check_torchvision_has
from cnnrun.registry import models
from tests.conftest import Command

ALL = torchvision.models.list_models(module=torchvision.models)
SMALLEST = ["convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5",
            "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18",
            "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t"]  # fmt: skip
SIZES = {"alexnet": 64, "inception_v3": 80, "maxvit_t": 224, "vit_h_14": 28}

pytestmark = pytest.mark.filterwarnings("error")


class _EmptyOnMeta(TorchFunctionMode):
    """`torch.empty`, where parameters come from, gives tensors without numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """A network without numbers: shapes can be computed, and nothing takes long."""
    with _EmptyOnMeta():
        return build().to("meta")


@pytest.mark.parametrize(
    "name",
    [
        name if name in (*SMALLEST, *SIZES) else pytest.param(name, marks=pytest.mark.slow)
        for name in ALL
    ],
)
def test_every_torchvision_model_takes_gray_images_and_ten_classes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "check_size", lambda *_: None)
    size = SIZES.get(name, 32)
    shape = (1, size, size)
    model = on_meta(lambda: zoo.torchvision_model(name, shape, 10))
    assert model.eval()(torch.zeros(2, *shape, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_of_each_family_trains_on_small_colour_images(name: str) -> None:
    torch.manual_seed(0)
    model = zoo.torchvision_model(name, (3, 32, 32), 10)
    assert model.training
    logits = model(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_names_are_components_with_a_schema() -> None:
    schema = models.get("torchvision/resnet18").schema()
    model = models.build(
        schema(name="torchvision/squeezenet1_1", dropout=0.1),
        input_shape=(1, 28, 28),
        num_classes=7,
    )
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "shape", "options", "wanted"),
    [
        ("resnet118", (3, 32, 32), {}, "no model 'resnet118'; there are resnet101"),
        ("resnet18", (3, 32, 32), {"weights": "IMAGENET1K_V2"},
         "torchvision/resnet18 has no weights 'IMAGENET1K_V2'; it has IMAGENET1K_V1"),
        ("squeezenet1_1", (1, 12, 12), {},
         "takes images of at least 17 x 17 pixels, not 12 x 12 (dataset.size)"),
        ("vit_b_32", (3, 48, 48), {},
         "takes square images of 32, 64, 96 ... pixels, not 48 x 48 (dataset.size)"),
        ("maxvit_t", (3, 96, 96), {},
         "takes images of 224, 448, 672 ... pixels, not 96 x 96 (dataset.size)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(
    name: str, shape: Any, options: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(UserError) as error:
        zoo.torchvision_model(name, shape, 10, **options)
    assert wanted in str(error.value)


def test_the_smallest_size_that_is_told_works() -> None:
    with pytest.raises(UserError, match="of at least 17 x 17"):
        zoo.torchvision_model("squeezenet1_1", (1, 16, 16), 10)
    assert zoo.torchvision_model("squeezenet1_1", (1, 17, 17), 10) is not None


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network; the folder where torch keeps weights."""

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "googlenet"])
def test_without_a_network_one_message_and_no_half_file(name: str, offline: Path) -> None:
    wanted = (
        rf"^torchvision/{name}: could not fetch the trained weights "
        r"\(Name or service not known\) from https://\S+\.pth$"
    )
    with pytest.raises(UserError, match=wanted):
        on_meta(lambda: zoo.torchvision_model(name, (3, 32, 32), 10, weights="DEFAULT"))
    assert not [file for file in offline.rglob("*") if file.is_file()]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for torchvision's server: the state of a network of 1000 classes, by enum name."""
    states: dict[str, Any] = {}

    def get_state_dict(weights: Any, **_: Any) -> Any:
        return states[type(weights).__name__]

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", get_state_dict)
    return states


def teach(states: dict[str, Any], name: str, **options: Any) -> nn.Module:
    torch.manual_seed(1)
    model = torchvision.models.get_model(name, **options).eval()
    kind = type(torchvision.models.get_model_weights(name).DEFAULT).__name__
    states[kind] = model.state_dict()
    return model


def features_of(model: nn.Module, images: Tensor) -> Tensor:
    """What the head is given."""
    caught: list[Tensor] = []
    _, head = zoo._head(model)
    head.register_forward_hook(lambda _module, inputs, _output: caught.append(inputs[0]))
    model.eval()(images)
    return caught[0]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "densenet121", "mobilenet_v3_small"])
def test_trained_features_stay_and_the_head_is_new(name: str, trained: dict[str, Any]) -> None:
    source = teach(trained, name)
    colour = zoo.torchvision_model(name, (3, 48, 48), 10, weights="DEFAULT")
    images = torch.rand(2, 3, 48, 48)
    wanted = features_of(source, images)
    torch.testing.assert_close(features_of(colour, images), wanted)
    assert colour(images).shape == (2, 10)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out(name: str, trained: dict[str, Any]) -> None:
    teach(trained, name, init_weights=False)
    model = zoo.torchvision_model(name, (1, 96, 96), 10, weights="DEFAULT").train()
    assert model(torch.rand(2, 1, 96, 96)).shape == (2, 10)
    assert not [key for key in model.state_dict() if key.lower().startswith("aux")]


@pytest.mark.slow
def test_positions_of_a_vision_transformer_are_interpolated(trained: dict[str, Any]) -> None:
    source = on_meta(torchvision.models.vit_b_32).to_empty(device="cpu")
    source.encoder.pos_embedding.data[0, 1:, 0] = torch.arange(49.0)  # type: ignore[union-attr]
    trained["ViT_B_32_Weights"] = source.state_dict()
    model = zoo.torchvision_model("vit_b_32", (1, 64, 64), 10, weights="DEFAULT")
    positions = model.encoder.pos_embedding  # type: ignore[union-attr]
    # The corners of the 7 x 7 grid are those of the 2 x 2 grid.
    torch.testing.assert_close(positions[0, 1:, 0].detach(), torch.tensor([0.0, 6, 42, 48]))
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 10)


def zoo_without_check(name: str, shape: Any, **options: Any) -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "check_size", lambda *_: None)
        return zoo.torchvision_model(name, shape, 10, **options)


def test_trained_kernels_answer_gray_as_the_same_image_in_colour() -> None:
    first = nn.Conv2d(3, 8, 7, stride=2, padding=3)
    gray = torch.rand(2, 1, 20, 20)
    summed = with_channels(first, 1, pretrained=True)
    torch.testing.assert_close(summed(gray), first(gray.expand(-1, 3, -1, -1)))
    for channels in (2, 4, 6):
        wide = with_channels(first, channels, pretrained=True)
        assert wide.weight.shape == (8, channels, 7, 7)
    torch.testing.assert_close(wide(gray.expand(-1, 6, -1, -1)), first(gray.expand(-1, 3, -1, -1)))


def test_untrained_kernels_keep_the_variance_of_the_answer() -> None:
    torch.manual_seed(0)
    first = torchvision.models.resnet18().conv1
    for channels in (1, 4):
        new = with_channels(first, channels, pretrained=False)
        wanted = float(first.weight.detach().var()) * 3
        assert float(new.weight.detach().var()) * channels == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("resnet18", ["fc.0"]),
        ("vgg11", ["classifier.2", "classifier.5"]),
        ("googlenet", ["dropout"]),
    ],
)
def test_dropout_stands_before_the_head(name: str, places: list[str]) -> None:
    model = on_meta(lambda: zoo_without_check(name, (3, 32, 32), dropout=0.25))
    found = {n: m.p for n, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert found == dict.fromkeys(places, 0.25)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet10t", (1, 28, 28)), ("vit_tiny_patch16_224", (4, 48, 64)),
     ("test_efficientnet", (3, 32, 32))],
)  # fmt: skip
def test_timm_models_take_any_channels_and_classes(name: str, shape: tuple[int, int, int]) -> None:
    model = zoo.timm_model(name, shape, 7, dropout=0.1)
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("library", [zoo.torchvision_model, zoo.timm_model])
@pytest.mark.parametrize("written", ["models/resnet18", "models/resnet/resnet18", "ResNet18"])
def test_a_network_named_with_its_module(library: Any, written: str) -> None:
    with pytest.raises(UserError, match=f"has no model '{written}'; did you mean 'resnet18'"):
        library(written, (3, 32, 32), 10)


@pytest.mark.slow
def test_timm_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="timm has no model 'resnet10tt'; did you mean 'resnet10t'"):
        zoo.timm_model("resnet10tt", (3, 32, 32), 10)
    with pytest.raises(UserError, match=r"timm/resnet10t has no weights 'c3'; it has c3_in1k$"):
        zoo.timm_model("resnet10t", (3, 32, 32), 10, weights="c3")
    with pytest.raises(UserError, match="timm/vgg11 takes images of at least 32 x 32 pixels"):
        zoo.timm_model("vgg11", (3, 31, 31), 10)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # it isn't asked
    with pytest.raises(UserError, match=r"could not fetch the trained weights \(no network\)$"):
        zoo.timm_model("resnet10t", (3, 32, 32), 10, weights="DEFAULT")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm is not installed: pip install 'cnnrun\[timm\]'"):
        zoo.timm_model("resnet10t", (3, 32, 32), 10)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269722), (56, 853018), (110, 1727962)])
def test_resnets_have_the_papers_size(depth: Any, parameters: int) -> None:
    """Table 6 of He et al. 2015: 0.27, 0.85 and 1.7 million."""
    model = ResNet((3, 32, 32), 10, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == parameters
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("options", [{}, {"stem": "imagenet"}, {"shortcut": "projection"}])
def test_resnets_take_any_image_and_train(options: dict[str, Any]) -> None:
    for shape in ((1, 28, 28), (3, 33, 17)):
        model = ResNet(shape, 5, depth=8, width=4, **options)
        logits = model(torch.randn(3, *shape))
        assert logits.shape == (3, 5)
        logits.square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_has_its_depth(depth: Any) -> None:
    model = VGG((3, 32, 32), 10, depth=depth, width=2)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


@pytest.mark.slow
@pytest.mark.parametrize("depth", [11, 16])
def test_vggs_features_are_torchvisions(depth: Any) -> None:
    ours = VGG((3, 32, 32), 10, depth=depth, head=[8, 8], batch_norm=False).eval()
    theirs = torchvision.models.get_model(f"vgg{depth}", init_weights=False).features.eval()
    weights = zip(ours.features.parameters(), theirs.parameters(), strict=True)
    for mine, other in weights:
        other.data = mine.data
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(ours.features(images), theirs(images))


@pytest.mark.parametrize("size", [1, 5, 28, 40])
def test_vgg_pools_only_what_is_larger_than_a_pixel(size: int) -> None:
    model = VGG((1, size, size), 3, width=4, head=[8])
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 3)
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == min(
        int(size).bit_length() - 1, 5
    )


def test_a_member_of_a_family_is_listed_by_its_own_name(cnnrun: Command) -> None:
    ended = cnnrun("list", "model", "torchvision/resnet18")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("model torchvision/*")
    assert "did you mean 'torchvision/*'" in cnnrun("list", "model", "torchvison/resnet18").err


@pytest.mark.parametrize(
    "name", ["deeplabv3_resnet50", "fasterrcnn_resnet50_fpn", "r3d_18", "quantized_resnet18"]
)
def test_networks_of_torchvision_for_other_tasks_are_refused_as_such(name: str) -> None:
    with pytest.raises(UserError, match=f"torchvision/{name} is not a plain image classifier"):
        check_torchvision_has(name)
