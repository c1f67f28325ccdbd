"""What each key of an experiment is to its run: one role a key, and the identities that follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cnnrun.config.document import flattened
from cnnrun.config.experiment import Training, load
from cnnrun.config.identity import (
    ROLES,
    ROLES_OF_COMPONENTS,
    Role,
    identity,
    key_of,
    role,
    why_not_set,
    why_not_varied,
)
from cnnrun.config.json_schema import experiment_schema
from cnnrun.config.own_code import MISSING, code_of
from cnnrun.models.transfer import Transfer
from cnnrun.registry import KINDS

# Kinds of components that are a section of the same name.
SECTIONS = ("task", "dataset", "model", "initializer", "loss", "optimizer", "schedule")


@cache
def _keys() -> list[tuple[str, str]]:
    return list(_every_key())


def _every_key() -> Iterator[tuple[str, str]]:
    """Every dotted key that an experiment can have, with the component that has it."""
    schema = experiment_schema()
    yield from ((key, "") for key in schema["properties"])
    for name, definition in schema["$defs"].items():
        section, _, component = name.partition(".")
        if section in SECTIONS and component:
            yield from ((f"{section}.{key}", component) for key in definition["properties"])
    for section, options in (("training", Training), ("transfer", Transfer)):
        yield from ((f"{section}.{key}", "") for key in options.model_fields)


@pytest.mark.slow
def test_every_key_of_every_component_has_a_role() -> None:
    assert len(_keys()) > 300
    for key, component in _keys():
        section = key.partition(".")[0]
        found = role(key, {f"{section}.name": component})
        assert isinstance(found, Role), key
    with pytest.raises(KeyError):
        role("modle.name")


def test_every_named_role_is_of_a_key_that_exists() -> None:
    known = {key for key, _ in _keys()}
    assert set(ROLES) <= known
    for (section, component), roles in ROLES_OF_COMPONENTS.items():
        if "/" in component:
            assert set(roles) <= set(KINDS[section].get(component).parameters)
            continue
        for key in roles:
            assert (f"{section}.{key}", component) in _keys(), (section, component, key)


def test_the_roles_that_matter_most() -> None:
    of_webdataset = {"dataset.name": "webdataset"}
    of_shapes = {"dataset.name": "shapes"}
    expected = {
        "training.checkpoint_every": Role.OUTPUT, "loggers": Role.OUTPUT, "output": Role.START,
        "seed": Role.FIXED, "dataset.batch_size": Role.FIXED, "optimizer.name": Role.FIXED,
        "optimizer.lr": Role.RESULT, "training.monitor": Role.RESULT, "loss.name": Role.RESULT,
        "dataset.root": Role.SOURCE, "dataset.threads": Role.MACHINE, "device": Role.MACHINE,
        "dataset.seed": Role.FIXED, "transfer.weights": Role.FIXED,
    }  # fmt: skip
    assert {key: role(key) for key in expected} == expected
    assert role("dataset.train", of_webdataset) is Role.SOURCE
    assert role("dataset.train", of_shapes) is Role.FIXED


def _set(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    *sections, last = key.split(".")
    inner = changed
    for section in sections:
        inner = inner[section]
    inner[last] = value
    return changed


def test_a_run_is_another_one_exactly_where_a_key_says_so(tiny: Path) -> None:
    values = load(tiny).to_dict()
    flat = flattened(values)
    base = key_of(values)
    assert base == key_of(flat), "nested or dotted"
    for key in set(flat) - {"training.auto_speed"}:
        same = key_of(_set(values, key, "another value")) == base
        assert same is not role(key, flat).distinguishes, key


def test_what_auto_speed_chooses_is_not_what_tells_runs_apart(tiny: Path) -> None:
    asked = load(tiny, ["training.auto_speed=true"]).to_dict()
    chosen = load(tiny, ["training.channels_last=false"]).to_dict()
    assert key_of(asked) != key_of(chosen)
    assert key_of(asked) == key_of(_set(chosen, "training.auto_speed", True))
    assert "training.channels_last" not in identity(asked)


PLUGIN = """\
from cnnrun.plugin import models
from torch import nn
{helper}

@models.register("{name}")
class Mine(nn.Module):
    \"\"\"A linear model.\"\"\"

    def __init__(self, input_shape, num_classes, *, width: int = 8):
        super().__init__()
        channels, height, side = input_shape
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * height * side, width), nn.Linear(width, num_classes)
        )

    def forward(self, images):
        return self.layers(images)
"""


def test_code_of_ones_own_is_known_by_its_content(tiny: Path, tmp_path: Path) -> None:
    plugin, helper = tmp_path / "mine.py", tmp_path / "helping.py"
    helper.write_text("WIDTH = 3\n")
    helps = "try:\n    import helping\nexcept ImportError:\n    pass"
    plugin.write_text(PLUGIN.format(name="identity_of_code", helper=helps))
    values = load(tiny, ["model={name: identity_of_code}"], [str(plugin)]).to_dict()
    key = key_of(values)
    assert set(code_of(values)) == {"mine.py", "helping.py"}

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (plugin, helper):
        (elsewhere / file.name).write_text(file.read_text())
    assert key_of({**values, "plugins": [str(elsewhere / "mine.py")]}) == key, "only moved"

    helper.write_text("WIDTH = 4\n")
    other = key_of(values)
    assert other != key, "a module next to it changed"
    assert other.partition("-")[0] == key.partition("-")[0], "of the same settings"
    plugin.unlink()
    assert code_of(values)["mine.py"] == MISSING


def test_an_own_data_set_is_code_as_well(tmp_path: Path) -> None:
    file = tmp_path / "data.py"
    file.write_text("x = 1\n")
    values = {"dataset": {"name": "own", "target": f"{file}:Mine"}}
    before = code_of(values)
    assert set(before) == {"data.py"}
    file.write_text("x = 22\n")
    assert code_of(values) != before


def test_cnnruns_own_components_are_no_code_of_ones_own(tiny: Path) -> None:
    values = load(tiny, ["dataset.augment=[{name: rotation}]"]).to_dict()
    assert code_of(values) == {}
    assert "-" not in key_of(values)


def test_what_runs_can_differ_in_is_what_tells_them_apart() -> None:
    # Those of components follow their section.
    for key in [key for key, component in _keys() if not component]:
        why = why_not_varied(key)
        apart = role(key).distinguishes or key in ("plugins", "training.auto_speed")
        assert bool(why) is (not apart or key == "seed"), key
        if why_not_set(key):
            assert why, f"{key}: what one of several can't have, they can't differ in"
    assert why_not_varied("no.such.key") == ""
    assert why_not_set("training.draw") == "", "a variant may be drawn, the others not"
