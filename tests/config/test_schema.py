"""The JSON Schema accepts what cnnrun accepts, refuses what it refuses, and knows the texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cnnrun.cli import completion
from cnnrun.config.document import read
from cnnrun.config.experiment import from_dict
from cnnrun.config.json_schema import experiment_schema
from cnnrun.errors import ConfigError
from cnnrun.registry import KINDS
from tests.conftest import CONFIGS, EXPERIMENTS, Command

SHIPPED = EXPERIMENTS


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return experiment_schema()


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_config_validates(
    file: Path, validator: jsonschema.Draft202012Validator
) -> None:
    validator.validate(read(file).values)


@pytest.mark.slow
def test_a_client_that_reads_yaml_by_itself(cnnrun: Command, tmp_path: Path) -> None:
    """By check-jsonschema a shipped config is valid, and a misspelt key is refused."""
    assert cnnrun("schema", "-o", "schema.json").out.strip() == "schema.json"
    check = [sys.executable, "-m", "check_jsonschema", "--schemafile", "schema.json"]
    assert len(SHIPPED) >= 10
    text = (CONFIGS / "digits_cnn.yaml").read_text()
    assert "batch_norm" in text
    (tmp_path / "misspelt.yaml").write_text(text.replace("batch_norm", "batch_nrom"))
    files = [str(CONFIGS / "digits_cnn.yaml"), "misspelt.yaml"]
    ended = subprocess.run([*check, *files], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "batch_nrom" in ended.stdout
    assert "digits_cnn.yaml" not in ended.stdout


GOOD: dict[str, Any] = {
    "dataset": {"name": "digits", "augment": ["horizontal_flip", {"name": "rotation"}]},
    "model": "mlp",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "training": {"epochs": 1},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"dataset": "digits"},
        {"optimizer": {"name": "sgd", "lr": 1}},  # a whole number is a number
        {"optimizer": {"name": "sgd", "lr": 1e-3}},
        {"transfer": None},
        {"transfer": {"case": "small_similar", "lr_multipliers": {"features": 0.1}}},
        {"dataset": {"name": "digits", "size": [8, 9], "normalize": {"mean": [0.1], "std": [1]}}},
        {"model": "torchvision/resnet18"},
        {"model": {"name": "timm/resnet18"}},
        {"task": "reconstruct", "model": "vae"},
        {"task": {"name": "reconstruct", "noise": 0.1}, "model": "vae"},
        {"schedule": {"name": "cosine", "warmup_epochs": 1}},
        {"model": None},
        {"model": "mpl"},
        {"model": {"hidden": [3]}},
        {"model": {"name": "mlp", "hiden": [3]}},
        {"model": {"name": "mlp", "hidden": [0]}},
        {"model": {"name": "mlp", "channels": [3]}},
        {"model": "torchvision/"},
        {"dataset": "folder"},  # its root has no default
        {"dataset": {"name": "digits", "augment": ["horizontal_flipp"]}},
        {"dataset": {"name": "digits", "augment": [{"name": "rotation", "degree": 1}]}},
        {"dataset": {"name": "digits", "size": [8]}},
        {"dataset": {"name": "digits", "normalize": {"mean": [0.1]}}},
        {"optimizer": {"name": "sgd", "lr": "0.1"}},
        {"optimizer": {"name": "sgd", "lr": 0}},
        {"training": {"epohcs": 1}},
        {"training": {"epochs": 1.5}},
        {"transfer": {"case": "small"}},
        {"tranfer": None},
        {"seed": -1},
        {"device": "warp"},
    ],
    ids=str,
)
def test_it_accepts_what_cnnrun_accepts(
    validator: jsonschema.Draft202012Validator, change: dict[str, Any]
) -> None:
    values = {**json.loads(json.dumps(GOOD)), **change}
    accepted = validator.is_valid(values)
    try:
        from_dict({"name": "x", **values}, "the test")
        valid = True
    except ConfigError:
        valid = False
    assert accepted == valid


def test_what_a_task_needs_is_required(validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid({"dataset": "digits"})
    assert not validator.is_valid({"model": "mlp"})
    image = {"name": "image", "file": "x.jpg"}
    style = {"name": "neural_style", "styles": [{"file": "y.jpg"}]}
    assert validator.is_valid({"task": "stylize", "dataset": image, "loss": style})
    assert not validator.is_valid({"task": "stylize", "dataset": image})


def test_keys_have_texts(schema: dict[str, Any]) -> None:
    """Every key that is a field has its docstring, parameters have their factory's."""
    definitions = schema["$defs"]
    for name in ("Training", "Transfer", "MeanStd", "Style", "dataset.digits"):
        properties = definitions[name]["properties"]
        assert [key for key, value in properties.items() if not value.get("description")] == []
    properties = schema["properties"]
    assert all(value.get("description") for value in properties.values())
    assert (
        "without a better" in schema["$defs"]["Training"]["properties"]["patience"]["description"]
    )
    cnn = schema["$defs"]["model.cnn"]
    assert "keeps the size" in cnn["properties"]["padding"]["description"]
    for kind, registry in KINDS.items():
        if kind != "plot":
            for name in registry.names():
                definition = schema["$defs"][f"{kind}.{name.removesuffix('/*')}"]
                assert definition["description"].startswith(registry.get(name).summary)


class TestCompletion:
    @pytest.fixture(autouse=True)
    def _known(self, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(completion, "_schema", lambda: schema)

    def offered(self, args: list[str], incomplete: str) -> list[str]:
        return [word for word, _ in completion.offers(args, incomplete)]

    def test_keys_are_those_of_the_component_that_is_named(self) -> None:
        digits = str(CONFIGS / "digits_cnn.yaml")
        assert "optimizer.beta1=" in self.offered([digits], "optimizer.")
        other = self.offered([digits, "optimizer=sgd"], "optimizer.")
        assert "optimizer.momentum=" in other
        assert "optimizer.beta1=" not in other
        assert self.offered([digits], "training.ep") == ["training.epochs="]
        assert self.offered(["digits_cnn"], "model.batch_n") == ["model.batch_norm="]

    def test_values(self) -> None:
        assert self.offered([], "optimizer=ada") == [
            "optimizer=adagrad",
            "optimizer=adam",
            "optimizer=adamw",
        ]
        assert self.offered(["optimizer", "="], "adamw") == ["adamw"]  # as bash splits words
        assert self.offered([], "training.deterministic=") == [
            "training.deterministic=true",
            "training.deterministic=false",
        ]
        assert self.offered([], "training.amp=b") == ["training.amp=bf16"]

    def test_names_of_configs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("mnist_mine.yaml").touch()
        found = completion.complete_config("mnist_m")
        assert found == ["mnist_mlp", "mnist_mine.yaml"]


def test_the_shell_is_answered_without_torch(tmp_path: Path, schema: dict[str, Any]) -> None:
    """The protocol between bash and typer, with the schema in the cache."""
    code = (
        "import sys; from cnnrun.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "_CNNRUN_COMPLETE": "complete_bash",
        "COMP_WORDS": "cnnrun\ntrain\ndigits_cnn\ntraining.pat",
        "COMP_CWORD": "3",
    }
    cached = tmp_path / "cnnrun" / completion._cached().name
    cached.parent.mkdir()
    cached.write_text(json.dumps(schema))
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert ended.stdout.split() == ["training.patience="]
    assert ended.stderr.split() == ["False"]
