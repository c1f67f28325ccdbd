"""A table that says more than a class: several labels, numbers, masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.csv_file import csv_file
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from tests.conftest import Command

COUNT = 12


def _table(folder: Path, columns: dict[str, list[Any]]) -> str:
    """12 images of 10 x 8 pixels, image k all of gray 10 k, and a table with further columns."""
    names = [f"{k:02}.png" for k in range(COUNT)]
    for k, name in enumerate(names):
        Image.fromarray(np.full((10, 8), 10 * k, np.uint8)).save(folder / name)
    everything = {"path": names, "split": ["train"] * 8 + ["val"] * 2 + ["test"] * 2, **columns}
    rows = [list(everything), *zip(*everything.values(), strict=True)]
    file = folder / "table.csv"
    file.write_text("\n".join(";".join(map(str, row)) for row in rows) + "\n")
    return str(file)


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    cells = ["cat|dog", "", "dog", "cat | ant"] * 3
    file = _table(tmp_path, {"label": cells})
    data = csv_file(ImageOptions(), file=file, label_separator="|")
    assert data.classes == ("ant", "cat", "dog")
    captions = data.train.targets.captions(data.classes)
    assert captions == ["cat, dog", "none", "dog", "ant, cat"] * 2
    assert data.test.targets.captions(data.classes) == ["dog", "ant, cat"]
    assert len(data.train) == 8, "an image without labels is a sample"


def test_columns_of_ones_and_zeros(tmp_path: Path) -> None:
    file = _table(tmp_path, {"cat": [1, 0, 0] * 4, "dog": ["1", "-1", "yes"] * 4})
    data = csv_file(ImageOptions(), file=file, label_columns=["dog", "cat"])
    assert data.classes == ("dog", "cat")
    expected = torch.tensor([[1.0, 1], [0, 0], [1, 0]])
    assert torch.equal(data.train.targets.held[:3], expected)


def test_columns_of_numbers(tmp_path: Path) -> None:
    ages = [k / 4 for k in range(COUNT)]
    heights: list[Any] = [f"{100 + k}" for k in range(COUNT)]
    heights[3] = ""
    file = _table(tmp_path, {"age": ages, "height": heights})
    options = ImageOptions()
    data = csv_file(options, file=file, value_columns=["height", "age"])
    kept = [k for k in range(8) if k != 3]
    expected = torch.tensor([[100 + k, k / 4] for k in kept])
    assert torch.equal(data.train.targets.held, expected)
    assert torch.equal(data.train.images[torch.arange(7)][:, 0, 0, 0], 10 * torch.tensor(kept))
    assert any("1 rows without values are left out" in note for note in options.notes)


def _masks(folder: Path, palette: bool) -> tuple[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    masks = random.integers(0, 3, (COUNT, 10, 8)).astype(np.uint8)
    masks[:, 0] = IGNORED
    for k, mask in enumerate(masks):
        image = Image.fromarray(mask)
        if palette:
            image.putpalette([c for value in range(256) for c in (value, 0, 255 - value)])
        image.save(folder / f"mask{k:02}.png")
    return _table(folder, {"mask": [f"mask{k:02}.png" for k in range(COUNT)]}), masks


@pytest.mark.parametrize("palette", [False, True])
def test_masks_gray_or_with_a_palette(tmp_path: Path, palette: bool) -> None:
    file, masks = _masks(tmp_path, palette)
    data = csv_file(ImageOptions(), file=file, mask_column="mask")
    assert data.classes == ("0", "1", "2")
    assert np.array_equal(data.train.targets.held.numpy(), masks[:8])
    assert np.array_equal(data.test.targets.held.numpy(), masks[10:])
    named = csv_file(
        ImageOptions(), file=file, mask_column="mask", mask_classes={2: "road", 0: "sky"}
    )
    assert named.classes == ("road", "sky")
    table = np.full(256, IGNORED, np.uint8)
    table[[2, 0]] = 0, 1
    assert np.array_equal(named.train.targets.held.numpy(), table[masks[:8]])


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_masks_are_brought_to_size_as_their_images(tmp_path: Path, resize: Any) -> None:
    """An image whose pixels are its mask's classes, enlarged: inside, both are the same."""
    mask = np.zeros((10, 8), np.uint8)
    mask[2:6, 3:7] = 1
    for k in range(COUNT):
        Image.fromarray(mask).save(tmp_path / f"m{k}.png")
    file = _table(tmp_path, {"mask": [f"m{k}.png" for k in range(COUNT)]})
    for k in range(COUNT):
        Image.fromarray(np.where(mask, 255, 100).astype(np.uint8)).save(tmp_path / f"{k:02}.png")
    options = ImageOptions(size=(40, 40), resize=resize)
    data = csv_file(options, file=file, mask_column="mask")
    image, held = data.train.images[torch.tensor([0])][0, 0], data.train.targets.held[0]
    assert held.shape == image.shape == (40, 40)
    assert (held[image == 255] == 1).all()
    assert (held[image == 100] == 0).all()
    assert ((image == 0) == (held == IGNORED)).all()


@pytest.mark.parametrize(
    ("columns", "keys", "told"),
    [
        (
            {"a": ["x"] * 12},
            {"value_columns": ["a"]},
            "table.csv:2: a is 'x'; expected a number such as 1.5, "
            "or an empty cell where it is not known",
        ),
        (
            {"a": ["1_0"] * 12},
            {"value_columns": ["a"]},
            "table.csv:2: a is '1_0'; expected a number",
        ),
        ({"a": ["1"] * 3 + ["nan"] * 9}, {"value_columns": ["a"]}, "table.csv:5: a is 'nan'"),
        (
            {"a": [str(1600000000 + k) for k in range(12)]},
            {"value_columns": ["a"]},
            "which 32-bit numbers barely distinguish; subtract 1600000000",
        ),
        ({"a": ["1"] * 12}, {"value_columns": ["a", "a"]}, "value_columns: 'a' is listed twice"),
        ({"a": ["1"] * 12}, {"label_columns": ["a", "a"]}, "label_columns: 'a' is listed twice"),
        (
            {"a": ["1"] * 12, "a ": ["0"] * 12},
            {"value_columns": ["a"]},
            "table.csv:1: the header has several columns 'a'",
        ),
        (
            {"a": ["1", "0", "-1"] * 4},
            {"label_columns": ["a"]},
            "table.csv:4: a has both -1 and 0; if -1 means unknown",
        ),
        ({"a": ["2"] * 12}, {"label_columns": ["a"]}, "table.csv:2: a is '2'; expected 1 or 0"),
        ({"a": ["1"] * 12}, {"label_columns": ["b"]}, "the header has no column 'b'"),
        (
            {"a": ["1"] * 12},
            {"value_columns": ["a"], "mask_column": "a"},
            "value_columns already names the target",
        ),
        ({"a": ["1"] * 12}, {"mask_classes": ["x"]}, "name their column"),
        ({"m": ["none.png"] * 12}, {"mask_column": "m"}, "there is no file none.png"),
        (
            {"label": ["cat"] * 10 + ["cat, dog"] * 2},
            {"label_separator": ","},
            "labels that training has no images of: dog",
        ),
    ],
)
def test_what_a_table_says_wrongly_is_told_with_its_line(
    tmp_path: Path, columns: dict[str, list[Any]], keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as error:
        csv_file(ImageOptions(), file=_table(tmp_path, columns), **keys)
    assert told in str(error.value)


def test_images_without_any_label_are_told(tmp_path: Path) -> None:
    options = ImageOptions()
    labels = ["cat|dog", "", "dog"] * 4
    data = csv_file(options, file=_table(tmp_path, {"label": labels}), label_separator="|")
    assert data.classes == ("cat", "dog")
    assert any("4 rows have an empty label" in note for note in options.notes)
    cleared = ImageOptions()
    both = {"label": ["cat|dog", "cat", "dog"] * 4}
    csv_file(cleared, file=_table(tmp_path, both), label_separator="|")
    assert not cleared.notes


def test_odd_masks_are_told(tmp_path: Path) -> None:
    names = [f"m{k}.png" for k in range(COUNT)]
    file = _table(tmp_path, {"mask": names})

    def told(mask: Image.Image) -> str:
        for name in names:
            mask.save(tmp_path / name)
        with pytest.raises(UserError) as error:
            csv_file(ImageOptions(), file=file, mask_column="mask")
        return str(error.value)

    assert "of different sizes (8 x 10 and 10 x 8)" in told(Image.new("L", (10, 8)))
    assert "a mask of mode RGB" in told(Image.new("RGB", (8, 10)))
    binary = Image.fromarray(np.array([0, 255] * 40, np.uint8).reshape(10, 8))
    assert "mask_classes={0: background, 255: object}" in told(binary)


@pytest.mark.parametrize(
    ("task", "keys"),
    [("regress", {"value_columns": ["age"]}), ("segment", {"mask_column": "mask"})],
)
def test_a_table_is_trained_on(
    cnnrun: Command, tmp_path: Path, task: str, keys: dict[str, Any]
) -> None:
    masks, _ = _masks(tmp_path, palette=True)
    names = [f"mask{k:02}.png" for k in range(COUNT)]
    file = _table(tmp_path, {"mask": names, "age": list(range(COUNT))})
    assert file == masks
    model = {"name": "cnn", "channels": [4]}
    values = {
        "name": "table",
        "task": task,
        "dataset": {"name": "csv", "file": file, "size": 16, "batch_size": 4, **keys},
        "model": {"name": "unet", "encoder": model} if task == "segment" else model,
        "device": "cpu",
        "training": {"epochs": 1, "draw": False},
    }
    (tmp_path / "table.yaml").write_text(json.dumps(values))
    ended = cnnrun("train", "table.yaml", "-q")
    assert ended.code == 0, ended.err
    assert cnnrun("eval", ended.out.strip()).code == 0
