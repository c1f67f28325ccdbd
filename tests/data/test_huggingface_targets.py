"""Hugging Face features as targets: lists of labels, numbers, masks; tables are written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets as hub
import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.huggingface import huggingface
from cnnrun.data.sources.huggingface_targets import sets_in
from cnnrun.data.targets import LabelSets, Masks, Values
from cnnrun.errors import UserError
from tests.conftest import Command

NAMES = ["zebra", "ant", "cat"]
SETS: list[list[int]] = [[0], [1, 2], [], [2, 0], [1], [0, 1, 2]]


def _load(path: Path, feature: Any, cells: list[Any], **keys: Any) -> Dataset:
    """Row i is an image of level i, in both splits."""
    images = [Image.new("L", (5, 4), i) for i in range(len(cells))]
    features = hub.Features({"image": hub.Image(), "label": feature})
    table = hub.Dataset.from_dict({"image": images, "label": cells}, features=features)
    hub.DatasetDict({"train": table, "test": table}).save_to_disk(path / "saved")
    options = ImageOptions(cache_dir=str(path / "known"))
    return huggingface(options, path=str(path / "saved"), **keys)


@pytest.mark.parametrize("kind", ["ClassLabel", "string"])
def test_lists_of_labels_are_sets(tmp_path: Path, kind: str) -> None:
    named = kind == "ClassLabel"
    inner = hub.ClassLabel(names=NAMES) if named else hub.Value("string")
    cells = SETS if named else [[NAMES[k] for k in those] for those in SETS]
    dataset = _load(tmp_path, hub.List(inner), cells)
    assert dataset.classes == tuple(NAMES if named else sorted(NAMES))
    assert isinstance(dataset.train.targets, LabelSets)
    found = [
        {dataset.classes[k] for k in row.nonzero().flatten().tolist()}
        for row in dataset.train.targets.held
    ]
    assert found == [{NAMES[k] for k in those} for those in SETS]


@pytest.mark.parametrize("keys", [{}, {"value_columns": ["label"]}])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_are_values(tmp_path: Path, kind: str, keys: dict[str, Any]) -> None:
    cells = [0.5, -2.25, 3.0, 4.5]
    dataset = _load(tmp_path, hub.Value(kind), cells, **keys)
    assert isinstance(dataset.test.targets, Values)
    assert dataset.classes == ("label",)
    assert dataset.test.targets.held[:, 0].tolist() == cells


def test_whole_numbers_are_values_where_they_are_named_so(tmp_path: Path) -> None:
    dataset = _load(tmp_path, hub.Value("int64"), [3, 1, 2, 3], value_columns=["label"])
    assert dataset.train.targets.held[:, 0].tolist() == [3, 1, 2, 3]
    assert isinstance(dataset.train.targets, Values)


def test_images_are_masks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    masks = random.choice(np.array([0, 1, 2, 255], np.uint8), (4, 4, 5))
    cells = [Image.fromarray(mask) for mask in masks]
    names = ["ground", "road", "sky"]
    dataset = _load(tmp_path, hub.Image(), cells, mask_column="label", mask_classes=names)
    assert isinstance(dataset.train.targets, Masks)
    assert torch.equal(dataset.train.targets.held, torch.from_numpy(masks))
    assert dataset.classes == tuple(names)
    numbered = _load(tmp_path / "b", hub.Image(), cells, mask_column="label")
    assert numbered.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("feature", "cells", "keys", "told"),
    [
        (hub.List(hub.ClassLabel(names=NAMES)), [[0], None, [1], [2]], {},
         "row 1: not a list of labels (for none, an empty list)"),
        (hub.List(hub.Value("float32")), [[0.5]] * 4, {}, "holds lists of neither whole numbers"),
        (hub.Value("float32"), [0.5, None, 1.0, 2.0], {}, "train"),
        (hub.Value("string"), list("abcd"), {"value_columns": ["label"]}, "something other than a"),
        (hub.Value("string"), list("abcd"), {"value_columns": ["labl"]}, "did you mean 'label'"),
        (hub.Value("string"), list("abcd"), {"mask_column": "label"}, "mask_column: 'label' of"),
        (hub.Value("string"), list("abcd"),
         {"mask_column": "label", "value_columns": ["label"]}, "already names the target"),
    ],
)  # fmt: skip
def test_what_is_no_target_is_told(
    tmp_path: Path, feature: Any, cells: list[Any], keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as failed:
        _load(tmp_path, feature, cells, **keys)
    assert told in str(failed.value)


def test_a_label_that_training_has_not_is_refused() -> None:
    table = hub.Dataset.from_dict({"label": [["a"], ["b"]]})
    with pytest.raises(UserError, match="row 1: the training split has no label 'b'"):
        sets_in(table, "test", "label", ("a",))


TRAINED: dict[str, tuple[Any, Any, str, str]] = {
    "multilabel": (
        hub.List(hub.ClassLabel(names=NAMES)), lambda k: [k, 2] if k < 2 else [],
        "label_column", "map",
    ),
    "regress": (hub.Value("float32"), float, "label_column", "r2"),
    "segment": (
        hub.Image(), lambda k: Image.fromarray(np.uint8([[k] * 8] * 8)), "mask_column", "miou",
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", TRAINED)
def test_each_kind_is_trained_on(cnnrun: Command, tmp_path: Path, task: str) -> None:
    """Images of three grays, and a target that follows from the gray."""
    feature, target, key, metric = TRAINED[task]
    random = np.random.default_rng(0)
    grays = [k % 3 for k in range(48)]
    images = [
        Image.fromarray(random.integers(0, 60, (8, 8), dtype=np.uint8) + np.uint8(90 * k))
        for k in grays
    ]
    features = hub.Features({"image": hub.Image(), "t": feature})
    rows = {"image": images, "t": [target(k) for k in grays]}
    table = hub.Dataset.from_dict(rows, features=features)
    parts = {"train": table.select(range(36)), "test": table.select(range(36, 48))}
    hub.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    model = "{name: cnn, channels: [8]}"
    model = f"{{name: unet, encoder: {model}}}" if task == "segment" else model
    (tmp_path / "c.yaml").write_text(
        f"task: {task}\ndataset: {{name: huggingface, path: saved, {key}: t, batch_size: 6}}\n"
        f"model: {model}\noptimizer: {{name: adam, lr: 0.02}}\ndevice: cpu\n"
        "training: {epochs: 4, draw: false}\n"
    )
    ended = cnnrun("train", tmp_path / "c.yaml", "-q")
    assert ended.code == 0, ended.err
    longer = cnnrun("train", "--resume", ended.out.strip(), "training.epochs=8", "-q")
    assert longer.code == 0, longer.err
    scores = json.loads(cnnrun("eval", ended.out.strip(), "--json").out)
    assert scores["samples"] == 12
    assert scores[metric] > 0.9
