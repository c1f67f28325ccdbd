"""Every key of every component that a small experiment can have, changed on a run that goes on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from cnnrun import runner
from cnnrun.config.experiment import load
from cnnrun.config.json_schema import experiment_schema
from tests.conftest import THOROUGH, some
from tests.runs.test_resume_matrix import STATES, what_became_of

DIGITS: dict[str, Any] = {"name": "digits", "limit": 60, "batch_size": 30}
FAKE: dict[str, Any] = {"name": "fake", "count": 60, "test": 20, "batch_size": 30, "classes": 3,
                        "height": 32, "width": 32, "rgb": True, "validation": 0.2}  # fmt: skip
AUTOENCODER = {"task": "reconstruct", "loss": "mse",
               "model": {"name": "conv_autoencoder", "channels": [4], "code": 4}}  # fmt: skip
SHAPES: dict[str, Any] = {"name": "shapes", "train": 40, "test": 10, "side": 16, "batch_size": 20}
SEGMENT = {"task": "segment", "dataset": {**SHAPES, "targets": "masks"},
           "model": {"name": "unet", "encoder": {"name": "cnn", "channels": [4, 4]}}}  # fmt: skip
MULTILABEL = {"task": "multilabel", "dataset": {**SHAPES, "targets": "label_sets"}}
REGRESS = {"task": "regress", "dataset": {**SHAPES, "targets": "values"}}
# What a component needs besides its name, and the experiment that carries it.
CARRIED: dict[str, dict[str, Any]] = {
    "task.reconstruct": AUTOENCODER,
    "task.segment": SEGMENT, "model.unet": SEGMENT, "loss.dice": SEGMENT,
    "task.multilabel": MULTILABEL, "loss.bce_logits": MULTILABEL,
    "task.regress": REGRESS, "loss.huber": REGRESS,
    "loss.bce": AUTOENCODER, "loss.mse": AUTOENCODER, "loss.l1": AUTOENCODER,
    "loss.ssim": AUTOENCODER,
    "model.conv_autoencoder": AUTOENCODER,
    "model.linear_autoencoder": {**AUTOENCODER, "model": {"code": 4}},
    "model.vae": {**AUTOENCODER, "model": {"channels": [4], "code": 4}},
    "model.encoder_classifier": {"model": {"channels": [4], "code": 4}},
    "model.mlp": {"model": {"hidden": [8]}},
    "model.cnn": {"model": {"channels": [4]}},
    "model.resnet": {"model": {"depth": 8, "width": 2}},
    "model.vgg": {"dataset": FAKE, "model": {"width": 2, "head": [4]}},
    "model.whitened_cnn": {"dataset": FAKE, "model": {"channels": [4, 4, 4]}},
    "schedule.multistep": {"schedule": {"milestones": [1]}},
    "optimizer.lbfgs": {"optimizer": {"max_iter": 2}},
    "dataset.fake": {"dataset": FAKE},
    "dataset.shapes": {"dataset": {"train": 40, "test": 10, "side": 16, "batch_size": 20}},
    "dataset.digits": {"dataset": DIGITS},
    "dataset.folder": {"dataset": {"root": "images", "channels": "gray", "batch_size": 10,
                                   "validation": 0.2, "test": 0.2}},
    "dataset.csv": {"dataset": {"file": "images.csv", "channels": "gray", "batch_size": 10,
                                "validation": 0.2, "test": 0.2}},
}  # fmt: skip
# Not by a small experiment: they need files, weights or networks of others.
NOT_CARRIED = {"task.stylize", "model.image", "model.timm", "model.torchvision",
               "loss.neural_style", "loss.nll"}  # fmt: skip
SECTIONS = ("task", "model", "initializer", "loss", "optimizer", "schedule")
OTHERS = {
    "channels": "[6]", "hidden": "[6]", "head": "[6]", "weight": "balanced", "sigma": "[0.2, 1.0]",
    "scale": "[0.1, 0.5]", "ratio": "[0.5, 2.0]", "milestones": "[2]", "pool_stride": "1",
    "root": "nowhere", "file": "nowhere.csv", "limit": "40", "per_class": "5", "size": "12",
    "fold": "1/3", "augment": "[{name: rotation}]", "test": "0.3", "validation": "0.3",
    "cache_dir": "elsewhere", "threads": "1", "bits": "8", "displace": "0.1", "groups": "2",
    "split_column": "part", "group_column": "whose", "path_column": "file", "label_column": "kind",
    "encoder": "resnet", "decoder": "[8]", "weights": "DEFAULT", "range": "[0, 200]", "page": "1",
    "image_folder": "images", "max": "1.3", "min": "0.8",
    "test_position": "0.25", "test_rotation": "10", "test_scale": "[0.4, 0.5]",
}  # fmt: skip


def components() -> dict[str, dict[str, Any]]:
    """By `section.component`, the schema of its keys."""
    found = {}
    for name, definition in experiment_schema()["$defs"].items():
        section, _, component = name.partition(".")
        takes = section in (*SECTIONS, "augmentation") or name in CARRIED
        if component and takes and name not in NOT_CARRIED:
            found[name] = definition["properties"]
    return found


def other_value(key: str, value: Any, schema: dict[str, Any]) -> str | None:
    """Another value, in YAML; None where the key can have no other."""
    if key in OTHERS:
        return OTHERS[key]
    kinds = [schema, *schema.get("anyOf", [])]
    for kind in kinds:
        if others := [one for one in kind.get("enum", []) if one != value]:
            return str(others[0])
    if isinstance(value, bool):
        return str(not value).lower()
    low = max((k.get("exclusiveMinimum", k.get("minimum", -1e9)) for k in kinds), default=-1e9)
    high = min((k.get("exclusiveMaximum", k.get("maximum", 1e9)) for k in kinds), default=1e9)
    if isinstance(value, int) and any(kind.get("type") == "integer" for kind in kinds):
        return str(value + 1 if value + 1 <= high else value - 1)
    if isinstance(value, int | float):
        return str(value + 0.05 if value + 0.05 < high else max(value - 0.05, low + 1e-3))
    return None


def experiment_of(name: str) -> dict[str, Any]:
    section, _, component = name.partition(".")
    values: dict[str, Any] = {
        "dataset": dict(DIGITS), "model": {"name": "cnn", "channels": [4]},
        "optimizer": {"name": "sgd", "lr": 0.01}, "device": "cpu",
        "training": {"epochs": 1, "draw": False, "checkpoint_every": "1 steps"},
    }  # fmt: skip
    if section == "augmentation":
        values["dataset"] = {**FAKE, "height": 12, "width": 12, "augment": [{"name": component}]}
        return values
    values |= CARRIED.get(name, {})
    own = values.get(section)
    values[section] = {**(own if isinstance(own, dict) and name in CARRIED else {}),
                       "name": component}  # fmt: skip
    return values


def changes(name: str, keys: dict[str, Any], config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each dotted key with its change, as the command line says it."""
    section, _, component = name.partition(".")
    for key, schema in keys.items():
        if key == "name":
            continue
        if section == "augmentation":
            value = other_value(key, schema.get("default"), schema)
            if value is not None:
                yield "dataset.augment", f"dataset.augment=[{{name: {component}, {key}: {value}}}]"
            continue
        value = other_value(key, config[section][key], schema)
        assert value is not None, f"{name}: what else could {key} be?"
        assert yaml.safe_load(value) != config[section][key], f"{name}.{key} is {value} already"
        yield f"{section}.{key}", f"{section}.{key}={value}"


def write_data(folder: Path) -> None:
    random = torch.Generator().manual_seed(0)
    lines = ["path,label"]
    for label in ("a", "b", "c"):
        for number in range(12):
            file = folder / "images" / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8, generator=random)
            Image.fromarray(pixels.numpy()).save(file)
            lines.append(f"images/{label}/{number}.png,{label}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")


def counts(
    names: list[str], states: tuple[str, ...], most: int, capsys: pytest.CaptureFixture[str]
) -> Counter[str]:
    """How going on with a change ended, over up to `most` keys of each component."""
    write_data(Path())
    found: Counter[str] = Counter()
    known = components()
    for name in names:
        Path("x.yaml").write_text(yaml.safe_dump(experiment_of(name)))
        trained = runner.train(load(Path("x.yaml")), quiet=True).path
        config = yaml.safe_load((trained / "config.yaml").read_text())
        for key, change in list(changes(name, known[name], config))[:most]:
            for state in states:
                run = Path(shutil.copytree(trained, "changed"))
                found[f"{state}: {what_became_of(run, key, change, state, capsys)}"] += 1
                shutil.rmtree(run)
    return found


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_what_is_carried_is_all_that_is_there() -> None:
    known = components()
    assert set(CARRIED) <= set(known)
    assert len(known) > 55


@pytest.mark.slow
@pytest.mark.parametrize("section", ["optimizer", "schedule"])
def test_a_key_of_each_component(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first key of each optimizer and schedule, on a run that was stopped."""
    names = [name for name in components() if name.startswith(section)]
    found = counts(names, ("stopped",), 1, capsys)
    assert found == {"stopped: allowed": len(names)}


@pytest.mark.slow
@pytest.mark.parametrize("section", [*SECTIONS, "augmentation", "dataset"])
def test_every_key_of_each_component_in_each_state(
    section: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name in components() if name.startswith(f"{section}.")]
    found = counts(some(names, 2), STATES, 1000 if THOROUGH else 1, capsys)
    with capsys.disabled():
        print(f"\n{section}: {len(names)} components, {dict(found)}")
    assert found["running: refused"] == sum(v for k, v in found.items() if "stopped" in k)
