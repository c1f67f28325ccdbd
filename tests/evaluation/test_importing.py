"""Imported networks: the answers of their own library, from weights under whatever names."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from cnnrun.errors import ConfigError, UserError
from cnnrun.evaluation.class_names import read_classes, unique
from cnnrun.evaluation.importing import import_network
from cnnrun.evaluation.loading import open_trained
from cnnrun.models.cnn import CNN
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.weight_names import renamed, suggested
from cnnrun.runtime.weights import without_prefix
from tests.conftest import Command

SMALL = [
    *("model={name: cnn, channels: [4, 6]}", "dataset.size=12", "dataset.channels=gray"),
    "dataset.normalize=half",
]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of the size that torchvision's preset brings images to, so nothing is resampled."""
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def random_network(make: Any, **options: Any) -> nn.Module:
    torch.manual_seed(4)
    network: nn.Module = make(**options).eval()
    for module in network.modules():  # as if trained
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) / 10
    return network


def small_network() -> nn.Module:
    return random_network(lambda: CNN((1, 12, 12), 3, channels=[4, 6]))


def predicted(cnnrun: Command, *arguments: object, classes: tuple[str, ...]) -> np.ndarray:
    ended = cnnrun("predict", *arguments, "--json", "--top", len(classes), "--device", "cpu")
    assert ended.code == 0, ended.err
    top = json.loads(ended.out)["predictions"][0]["top"]
    shares = {each["class"]: each["probability"] for each in top}
    return np.array([shares[name] for name in classes])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_a_network_of_torchvision_answers_as_there(
    cnnrun: Command, photo: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With its own preprocessing: in one go, and from a checkpoint."""
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    theirs = random_network(lambda **more: torchvision.models.get_model(name, **more), **options)
    state = theirs.state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    with torch.no_grad(), Image.open(photo) as image:
        wanted = theirs(weights.transforms()(image)[None]).softmax(1)[0].double().numpy()
    classes = tuple(weights.meta["categories"])
    found = predicted(cnnrun, f"torchvision/{name}", photo, classes=classes)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    torch.save(state, "w.pth")
    ended = cnnrun("import", f"torchvision/{name}", "--weights", "w.pth", "-o", "x.pt")
    assert ended.code == 0, ended.err
    assert "fc" in ended.err
    assert ended.out.strip() == "x.pt"
    np.testing.assert_array_equal(predicted(cnnrun, "x.pt", photo, classes=classes), found)


@pytest.mark.slow
def test_a_network_of_timm_has_its_own_form_and_names(cnnrun: Command, photo: Path) -> None:
    theirs = random_network(lambda: timm.create_model("resnet10t", num_classes=2))
    torch.save({"state_dict_ema": theirs.state_dict(), "state_dict": {}}, "t.pth.tar")
    Path("names.txt").write_text("cat\ndog\n")
    options = ["--weights", "t.pth.tar", "--classes", "names.txt", "-o", "t.pt"]
    assert cnnrun("import", "timm/resnet10t", *options).code == 0
    checkpoint = Checkpoint.load(Path("t.pt"))
    assert checkpoint.input_shape == [3, 176, 176]
    assert checkpoint.config["dataset"]["crop_fraction"] == 0.875
    assert checkpoint.normalization.mean == [0.485, 0.456, 0.406]
    with Image.open(photo) as image:
        image.crop((40, 40, 216, 216)).resize((201, 201)).save("near.png")
    found = predicted(cnnrun, "t.pt", "near.png", classes=("cat", "dog"))
    _, parts, _ = open_trained(Path("t.pt"), device="cpu")
    assert found.sum() == pytest.approx(1)
    for key, value in theirs.state_dict().items():
        assert torch.equal(parts.model.state_dict()[key], value)


def wrapped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "pack",
    [
        lambda s: s,
        lambda s: {"state_dict": wrapped(s, "model."), "epoch": 3},
        lambda s: {"state_dict": wrapped(s, "module.net.")},
        lambda s: {"state_dict": wrapped(s, "net.model.")},
        lambda s: {"model_ema": wrapped(s, "module.") | {"n_averaged": torch.ones(1)}, "model": {}},
        lambda s: {"model": wrapped(s, "x."), "ema": {"state_dict": s, "decay": 0.9}},
        lambda s: wrapped(s, "ema_model.") | wrapped({k: v + 1 for k, v in s.items()}, "model."),
        lambda s: {"model": {"state_dict": s}, "ema": {"decay": 0.9}},
    ],
)
def test_weights_are_found_under_any_wrapping(tmp_path: Path, pack: Any) -> None:
    """An average of the weights goes before the weights, as its scores are those that are told."""
    state = small_network().state_dict()
    torch.save(pack(state), tmp_path / "w.pt")
    found = import_network("cnn", str(tmp_path / "w.pt"), overrides=SMALL).checkpoint
    assert list(found.model) == list(state)
    assert all(torch.equal(found.model[key], value) for key, value in state.items())
    assert found.classes == ["class 0", "class 1", "class 2"]


def test_names_of_another_library_are_mapped(cnnrun: Command, tmp_path: Path) -> None:
    state = small_network().state_dict()
    head = next(key for key in state if key.startswith("head") or "classifier" in key)
    first = head.partition(".")[0]
    other = {key.replace(first, "fc", 1): value for key, value in state.items()}
    alone = {f"net.{key}": value for key, value in other.items() if key.startswith("fc")}
    assert list(without_prefix(state, alone)) == [key for key in other if key.startswith("fc")]
    torch.save(other | {"decoder.weight": torch.ones(2)}, tmp_path / "w.pt")
    refused = cnnrun("import", "cnn", *SMALL, "--weights", "w.pt")
    assert refused.code == 1
    assert "the network also needs" in refused.err
    assert "(--rename FILE)" in refused.err
    Path("names.yaml").write_text(f"fc: {first}\ndecoder: null\n")
    done = cnnrun("import", "cnn", *SMALL, "--weights", "w.pt", "--rename", "names.yaml")
    assert done.code == 0, done.err
    found = Checkpoint.load(tmp_path / "cnn.pt").model
    assert all(torch.equal(found[key], value) for key, value in state.items())
    Path("names.yaml").write_text("decodr: head\n")
    wrong = cnnrun("import", "cnn", *SMALL, "--weights", "w.pt", "--rename", "names.yaml")
    assert wrong.code == 2
    assert "no weights are called 'decodr'; did you mean 'decoder'?" in wrong.err


def test_a_map_of_names_serves_fine_tuning_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = small_network().state_dict()
    torch.save({f"stem.{key}": value for key, value in state.items()}, tmp_path / "w.pt")
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: digits, size: 12, limit: 40}\nmodel: {name: cnn, channels: [4, 6]}\n"
        "transfer: {weights: w.pt, rename: {stem: ''}}\ndevice: cpu\n"
    )
    from cnnrun.config.experiment import load
    from cnnrun.engine.build import build

    built = build(load(Path("x.yaml"))).model.state_dict()
    same = [key for key, value in state.items() if torch.equal(built[key], value)]
    assert "features.0.conv.weight" in same


def test_a_suggested_map_is_one_that_fits() -> None:
    own = torchvision.models.get_model("resnet18").state_dict()
    other = {key.replace("layer", "stages."): value for key, value in own.items()}
    names = suggested(own, other)
    assert len(names) < 12
    assert list(renamed(other, names)) == list(own)
    assert suggested(own, {"a.weight": torch.ones(2)}) == {}
    with pytest.raises(UserError, match="two weights would be called"):
        renamed({"a.weight": torch.ones(1), "b.weight": torch.ones(1)}, {"b": "a"})


def test_an_imported_network_is_scored_drawn_and_exported(cnnrun: Command, tmp_path: Path) -> None:
    torch.save(small_network().state_dict(), "w.pt")
    Path("names.json").write_text('{"0": ["n1", "a"], "1": ["n2", "b"], "2": ["n3", "c"]}')
    options = ["--weights", "w.pt", "--classes", "names.json", "-o", "x.pt"]
    assert cnnrun("import", "cnn", *SMALL, *options).code == 0
    random = np.random.default_rng(0)
    for number in range(12):
        file = tmp_path / "photos" / "cab"[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 15), dtype=np.uint8)).save(file)
    data = ["dataset.name=folder", "dataset.root=photos"]
    scored = cnnrun("eval", "x.pt", *data, "--json")
    assert scored.code == 0, scored.err
    found = json.loads(scored.out)
    assert (found["samples"], found["trained_on"]) == (12, None)
    answers = cnnrun("predict", "x.pt", "photos", "--csv", "--top", 1).out.splitlines()
    rows = list(csv.DictReader(answers))
    right = sum(Path(row["file"]).parent.name == row["class"] for row in rows)
    assert found["accuracy"] == pytest.approx(right / 12)
    refused = cnnrun("eval", "x.pt")
    assert refused.code in (1, 2)
    assert "was imported without data; name a data set" in refused.err
    assert cnnrun("viz", "confusion", "x.pt", *data, "-o", "c.png").code == 0
    exported = cnnrun("export", "x.pt", "--format", "torchscript", "-o", "x.ts")
    assert exported.code == 0, exported.err


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("cnn", {}, "comes without trained weights"),
        ("cnn", {"weights": "w.pt"}, r"dataset\.size=224"),
        ("cnn", {"weights": "w.pt", "overrides": SMALL[:-1]}, "how its images were normalized"),
        ("cnn", {"weights": "w.pt", "overrides": [*SMALL, "dataset.name=digits"]},
         "an import needs no images"),
        ("cnn", {"weights": "w.pt", "overrides": [*SMALL, "task=regress"]}, "task regress"),
        ("cnn", {"weights": "w.pt", "classes": Path("two.txt"), "overrides": SMALL},
         "two.txt: names 2 classes; the network has 3"),
        ("cnn", {"weights": "w.pt", "overrides": [*SMALL, "task=segment"]}, "of each pixel"),
        ("unet", {"weights": "w.pt",
                  "overrides": [*SMALL[1:], "model.encoder={name: cnn, channels: [4, 6]}"]},
         "use `task: segment`"),
        ("torchvision/resnet19", {}, "no model 'resnet19'"),
        ("torchvision/resnet18", {"weights": "IMAGENET1K_V7"}, "has no weights 'IMAGENET1K_V7'"),
    ],
)  # fmt: skip
def test_what_can_not_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, options: Any, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(small_network().state_dict(), "w.pt")
    Path("two.txt").write_text("a\nb\n")
    with pytest.raises((ConfigError, UserError), match=told):
        import_network(model, **options)


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("a.txt", "cat\n\nwild dog\n", ("cat", "wild dog")),
        ("a.json", '["cat", "dog"]', ("cat", "dog")),
        ("a.json", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("a.json", '{"0": ["n02", "cat"], "1": ["n01", "dog"]}', ("cat", "dog")),
        ("a.json", '{"dog": 1, "cat": 0}', ("cat", "dog")),
    ],
)
def test_names_of_classes_are_read_in_the_usual_forms(
    tmp_path: Path, name: str, text: str, names: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(text)
    assert read_classes(tmp_path / name) == names


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", "cat\ncat\n", "names 'cat' twice"),
        ("a.txt", "\n", "names no classes"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"cat": "dog"}', "expected numbers and names"),
        ("a.json", "3", "expected a list of names"),
    ],
)
def test_what_names_no_classes_says_so(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=told):
        read_classes(tmp_path / name)


def test_a_name_stands_for_one_output() -> None:
    assert unique(("crane", "tench", "crane")) == ("crane (0)", "tench", "crane (2)")


def test_a_map_of_names_is_a_map(tmp_path: Path) -> None:
    torch.save(small_network().state_dict(), tmp_path / "w.pt")
    (tmp_path / "names.yaml").write_text("fc: [head]\n")
    with pytest.raises(ConfigError, match=r"expected lines `old\.name: new\.name`, or"):
        import_network(
            "cnn", str(tmp_path / "w.pt"), rename=tmp_path / "names.yaml", overrides=SMALL
        )
