"""`cnnrun list` shows the shipped experiments, studies and sweeps in addition to the components."""

from __future__ import annotations

import json

import pytest

from tests.conftest import CONFIGS, Command

FOLDERS = {"study": "studies", "sweep": "sweeps"}


@pytest.mark.parametrize("kind", ["study", "studies", "sweep", "experiment", "experiments"])
def test_every_shipped_file_of_a_kind_is_listed(cnnrun: Command, kind: str) -> None:
    ended = cnnrun("list", kind, "--json")
    [(found, entries)] = json.loads(ended.out).items()
    assert kind.startswith(found[:4])
    folder = FOLDERS.get(found)
    files = {
        file.stem
        for file in CONFIGS.rglob("*.yaml")
        if (file.parent.name if file.parent.name in FOLDERS.values() else None) == folder
    }
    assert {entry["name"] for entry in entries} == files
    for entry in entries:
        assert 20 < len(entry["summary"]) < 130, entry["name"]
        assert entry["summary"][-1] in ".?"


def test_one_of_them_is_shown_whole(cnnrun: Command) -> None:
    text = (CONFIGS / "studies" / "heads.yaml").read_text()
    assert text.rstrip() in cnnrun("list", "study", "heads").out
    ended = cnnrun("list", "study", "haeds")
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean 'heads'" in ended.err


@pytest.mark.slow
def test_listing_everything_has_them_last(cnnrun: Command) -> None:
    kinds = list(json.loads(cnnrun("list", "--json").out))
    assert kinds[-3:] == ["experiment", "study", "sweep"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mixup", "augmentation"), ("digits", "dataset"), ("torch/NAdam", "optimizer"),
     ("torchvision/resnet18", "model"), ("digits_cnn", "experiment")],
)  # fmt: skip
def test_what_is_listed_is_found_without_its_kind(cnnrun: Command, name: str, kind: str) -> None:
    ended = cnnrun("list", name)
    assert ended.code == 2
    assert f"unknown kind '{name}'; see `cnnrun list {kind} {name}`" in ended.err
    assert cnnrun("list", kind, name).code == 0
