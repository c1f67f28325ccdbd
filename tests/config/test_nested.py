"""A component as a parameter of another is validated, named and shown as a section's is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

from cnnrun.config.experiment import from_dict, load
from cnnrun.config.identity import key_of
from cnnrun.config.json_schema import experiment_schema
from cnnrun.config.own_code import code_of
from cnnrun.errors import ConfigError
from cnnrun.registry import KINDS
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.identity import key_of_run
from tests.conftest import Command

PLUGIN = '''
from typing import Annotated
import torch
from cnnrun.plugin import Named, Nested, losses, models

@losses.register("sum_of")
class SumOf(torch.nn.Module):
    """Several losses together."""
    def __init__(self, *, parts: list[Annotated[Named, Nested(losses)]] = ["cross_entropy"]):
        super().__init__()
        self.parts = parts

@models.register("wrapped")
class Wrapped(torch.nn.Module):
    """Another model."""
    def __init__(self, input_shape, num_classes, *, of: Annotated[Named, Nested(models)] = "mlp"):
        super().__init__()
        self.of = models.build(of, input_shape=input_shape, num_classes=num_classes)
    def forward(self, images):
        return self.of(images)
'''


class Place(NamedTuple):
    """Where a component is nested, in an experiment in which it is the last line.

    own, key, other: one with a key, that key, and another value of it. word: another tool's name
    for `name`. near: a typo of `own`.
    """

    path: str
    head: str
    own: str
    key: str
    value: Any
    other: Any
    word: str
    name: str
    near: str


MASKS = "task: segment\ndataset: {name: shapes, targets: masks}\nmodel:\n  name: unet\n"
DIGITS = "dataset: digits\nmodel:\n  name: cnn\n  channels: [4, 4]\n"
STYLE = (
    "task: stylize\ndataset: {name: image, file: a.png}\nmodel: image\n"
    "loss:\n  name: neural_style\n  styles: [{file: b.png}]\n"
)
OWN = "plugins: [own.py]\ndataset: digits\n"
MODEL = ("resnet", "depth", 8, 14, "simple_cnn", "cnn", "resnett")
ACTIVATION = ("torch/ELU", "alpha", 0.5, 2.0, "swish", "silu", "torch/ELUU")
LOSS = ("focal", "gamma", 1.0, 3.0, "ce", "cross_entropy", "focall")
PLACES = [
    Place("model.encoder", MASKS, *MODEL),
    Place("loss.network", STYLE, *MODEL),
    Place("model.activation", DIGITS, *ACTIVATION),
    Place("model.activation.1", DIGITS, *ACTIVATION),
    Place("model.encoder.activation", MASKS, *ACTIVATION),
    Place("loss.network.encoder", STYLE, *MODEL),
    Place("loss.network.encoder.activation", STYLE, *ACTIVATION),
    Place("model.of", OWN + "model:\n  name: wrapped\n", *MODEL),
    Place("model.of.of.of", OWN + "model:\n  name: wrapped\n", *MODEL),
    Place("loss.parts.0", OWN + "model: mlp\nloss:\n  name: sum_of\n", *LOSS),
]
AROUND = {
    "model.activation.1": "activation: [relu, {}]",
    "model.encoder.activation": "encoder: {{name: cnn, activation: {}}}",
    "loss.network.encoder": "network: {{name: unet, encoder: {}}}",
    "loss.network.encoder.activation": (
        "network: {{name: unet, encoder: {{name: cnn, activation: {}}}}}"
    ),
    "model.of.of.of": "of: {{name: wrapped, of: {{name: wrapped, of: {}}}}}",
    "loss.parts.0": "parts: [{}]",
}
everywhere = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the plug-in, which is unknown again afterwards."""
    found = tmp_path_factory.mktemp("nested")
    (found / "own.py").write_text(PLUGIN)
    yield found
    for kind in KINDS.values():
        kind.forget(str(found / "own.py"))


@pytest.fixture
def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Place, str], Path]:
    """Writes the experiment of a place with a value, and stands next to it."""
    monkeypatch.chdir(folder)

    def written(place: Place, value: str) -> Path:
        around = AROUND.get(place.path, f"{place.path.rpartition('.')[2]}: {{}}")
        Path("x.yaml").write_text(f"{place.head}  {around.format(value)}\n")
        return Path("x.yaml")

    return written


def at(config: dict[str, Any], path: str) -> Any:
    value: Any = config
    for step in path.split("."):
        value = value[int(step)] if step.isdigit() else value[step]
    return value


def place_of(file: Path, text: str) -> str:
    """`x.yaml:line:column` of `text` in the last line."""
    lines = file.read_text().splitlines()
    return f"x.yaml:{len(lines)}:{lines[-1].index(text) + 1}"


def told(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as failed:
        load(file, overrides)
    [message] = failed.value.problems
    return message


@everywhere
def test_what_is_wrong_is_told_with_its_place_and_the_nearest_word(
    place: Place, write: Callable[[Place, str], Path]
) -> None:
    file = write(place, place.near)
    assert told(file) == (
        f"{place_of(file, place.near)}: {place.path}: unknown name '{place.near}'; did you mean "
        f"'{place.own}'?"
    )
    wrong = place.key + place.key[-1]
    file = write(place, f"{{name: {place.own}, {wrong}: {place.value}}}")
    assert told(file) == (
        f"{place_of(file, wrong)}: {place.path}.{wrong}: unknown key; did you mean '{place.key}'?"
    )
    file = write(place, f"{{name: {place.own}, {place.key}: deep}}")
    assert told(file).startswith(f"{place_of(file, 'deep')}: {place.path}.{place.key}: expected ")
    assert "got 'deep'" in told(file)
    file = write(place, "5")
    assert told(file).startswith(f"{place_of(file, '5')}: {place.path}: expected a name or a ")


@everywhere
def test_words_of_other_tools_are_understood(
    place: Place, write: Callable[[Place, str], Path]
) -> None:
    found = at(load(write(place, place.word)).to_dict(), place.path)
    assert (found if isinstance(found, str) else found["name"]) == place.name
    plain = load(write(place, f"{{name: {place.own}, {place.key}: {place.value}}}")).to_dict()
    for other in (
        f"{{type: {place.own}, {place.key}: {place.value}}}",
        f"{{name: {place.own}, params: {{{place.key}: {place.value}}}}}",
        f"{{name: {place.own}, {place.key.upper()}: {place.value}}}",
    ):
        assert load(write(place, other)).to_dict() == plain, other


@everywhere
def test_a_change_reaches_it(place: Place, write: Callable[[Place, str], Path]) -> None:
    file = write(place, place.own)
    before, dotted = at(load(file).to_dict(), place.path), f"{place.path}.{place.key}"
    after = load(file, [f"{dotted}={place.other}"]).to_dict()
    assert at(after, place.path) == {**before, place.key: place.other}
    named = load(file, [f"{place.path}={place.name}"]).to_dict()
    assert named == load(write(place, place.name)).to_dict()
    wrong = f"{dotted}x={place.other}"
    assert told(write(place, place.own), wrong).startswith(f"command line: {wrong}: {dotted}x: ")


@everywhere
def test_a_runs_config_is_whole_and_is_read_again(
    place: Place, write: Callable[[Place, str], Path], tmp_path: Path
) -> None:
    experiment = load(write(place, place.own))
    whole = experiment.to_dict()
    assert place.key in at(whole, place.path)
    again = yaml.safe_load(experiment.to_yaml())
    assert again == whole
    assert from_dict(again, "again").to_dict() == whole
    # An older run wrote what its file said; it is the same run.
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    inner: Any = whole
    for step in place.path.split(".")[:-1]:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    last = place.path.rpartition(".")[2]
    inner[int(last) if last.isdigit() else last] = place.own
    run.config.write_text(yaml.safe_dump(whole))
    assert key_of_run(run) == key_of(again, {} if "own.py" not in place.head else None)


@pytest.mark.slow
def test_editors_know_them(write: Callable[[Place, str], Path]) -> None:
    load(write(PLACES[-1], PLACES[-1].own))  # the plug-in's are in the schema, too
    schema = jsonschema.Draft202012Validator(experiment_schema())
    for place in PLACES:
        right = (place.own, f"{{name: {place.own}, {place.key}: {place.value}}}")
        for value in right:
            assert schema.is_valid(yaml.safe_load(write(place, value).read_text())), place.path
        wrong = f"{{name: {place.own}, {place.key}x: {place.value}}}"
        if "/" not in place.own:  # a library's keys are not in the schema
            assert not schema.is_valid(yaml.safe_load(write(place, wrong).read_text())), place.path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model: {net: {name: mlp}}", "mlp"),  # a word of other tools for the whole section
        ("model: {encoder: {name: mlp}}", ""),  # a part of unet
        ("plugins: [own.py]\nmodel: {of: {name: mlp}}", ""),  # a part of the plug-in's
        ("task: segment\nmodel: {encoder: {name: resnet}}", "unet"),
    ],
)
def test_a_part_without_the_whole_is_not_the_whole(
    write: Callable[[Place, str], Path], text: str, name: str
) -> None:
    write(PLACES[0], "cnn")
    data = "{name: shapes, targets: masks}" if name == "unet" else "digits"
    Path("x.yaml").write_text(f"dataset: {data}\n{text}\n")
    if name:
        assert load(Path("x.yaml")).to_dict()["model"]["name"] == name
    else:
        assert "expected a name or a mapping with `name`" in told(Path("x.yaml"))


def test_a_default_name_may_be_left_out(write: Callable[[Place, str], Path]) -> None:
    config = load(write(PLACES[0], "{channels: [8, 16]}")).to_dict()
    assert config["model"]["encoder"]["name"] == "cnn"
    bare = MASKS.replace("model:\n  name: unet\n", "model: unet\n")
    Path("x.yaml").write_text(bare)
    config = load(Path("x.yaml"), ["model.encoder.channels=[8, 16]"]).to_dict()
    assert config["model"]["encoder"]["channels"] == [8, 16]
    assert load(Path("x.yaml")).to_dict() == load(Path("x.yaml"), ["model.encoder=cnn"]).to_dict()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("unet", "model.encoder: 'unet' can't be used here; name a model such as cnn"),
        ("{name: cnn, depth: 8}", "model.encoder.depth: unknown key; resnet and vgg have it"),
        ("{name: cnn, epochs: 8}", "unknown key; did you mean 'training.epochs'?"),
        ("ResNet50", "unknown name 'ResNet50'; did you mean 'torchvision/resnet50'?"),
        ("{name: cnn, activation: {name: relu, slope: 1}}", "unknown key; relu has no keys"),
        ("{name: cnn, activation: torch/GLU}", "torch/GLU gives maps of another shape or meaning"),
        ("{name: torchvision/resnet18, weights: DEFAULT}\n  weights: IMAGENET1K_V1",
         "the same as model.weights, which is also given"),
    ],
)  # fmt: skip
def test_what_can_be_no_encoder(
    write: Callable[[Place, str], Path], value: str, wanted: str
) -> None:
    assert wanted in told(write(PLACES[0], value))


def test_trained_weights_are_moved_to_their_one_key(write: Callable[[Place, str], Path]) -> None:
    encoder = "{name: torchvision/resnet18, pretrained: true}"
    model = load(write(PLACES[0], encoder)).to_dict()["model"]
    assert model["weights"] == "DEFAULT"
    assert "weights" not in model["encoder"]
    network = "{name: torchvision/resnet18, weights: random}"
    assert load(write(PLACES[1], network)).to_dict()["loss"]["weights"] == "random"


@pytest.mark.parametrize("network", ["vgg16", "runs/gone", "~/best.pt", "here.ckpt"])
def test_a_judge_may_be_a_run(write: Callable[[Place, str], Path], network: str) -> None:
    assert load(write(PLACES[1], network)).to_dict()["loss"]["network"] == network


def test_the_code_of_a_nested_component_is_part_of_what_a_run_is(
    write: Callable[[Place, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of an installed package, which no `plugins:` names."""
    (tmp_path / "a_package.py").write_text(
        PLUGIN.replace('"wrapped"', '"packed"').replace("sum_of", "summed")
    )
    monkeypatch.syspath_prepend(tmp_path)
    __import__("a_package")
    try:
        config = load(write(PLACES[0], "packed")).to_dict()
        assert list(code_of(config)) == ["a_package.py"]
    finally:
        for kind in KINDS.values():
            kind.forget(str(tmp_path / "a_package.py"))


def test_it_is_built_by_the_factory_that_names_it(
    cnnrun: Command, write: Callable[[Place, str], Path]
) -> None:
    file = write(PLACES[7], "{name: cnn, channels: [4], activation: torch/Mish}")
    ended = cnnrun("describe", file, "--plugin", "own.py")
    assert ended.code == 0, ended.err
    assert "Mish" in ended.out


def test_the_list_says_what_may_stand_there(cnnrun: Command) -> None:
    for kind, name, key, text in (
        ("model", "unet", "encoder", "a model"),
        ("model", "cnn", "activation", "an activation or a list of these"),
        ("loss", "neural_style", "network", "vgg16, vgg19, a model or str"),
    ):
        listed = json.loads(cnnrun("list", kind, name, "--json").out)
        [found] = [p for p in listed[kind][0]["parameters"] if p["name"] == key]
        assert found["type"] == text
    assert "torch/Mish" in cnnrun("list", "activation", "torch").out


@pytest.mark.parametrize(
    ("key", "values", "wanted"),
    [
        ("model.encoder.depth", "[8, 14]", "model.encoder.depth=14"),
        ("model.encoder", "[cnn, resnet]", "model.encoder=resnet"),
        ("model.encoder.depht", "[8, 14]", "unknown key; did you mean 'depth'?"),
        ("model.encoder", "[cnn, resnett]", "unknown name 'resnett'; did you mean 'resnet'?"),
    ],
)
def test_sweeps_vary_it(
    write: Callable[[Place, str], Path], cnnrun: Command, key: str, values: str, wanted: str
) -> None:
    write(PLACES[0], "resnet")
    Path("sweep.yaml").write_text(f"base: x.yaml\ngrid: {{{key}: {values}}}\n")
    ended = cnnrun("sweep", "sweep.yaml", "--dry-run")
    assert wanted in ended.out + ended.err
    assert ended.code == (2 if "did you mean" in wanted else 0), ended.err
