"""A user's own torch Dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data.images.arrays import as_bytes
from cnnrun.data.sources.own import own
from cnnrun.errors import UserError

_HEAD = """
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset


class Mine(Dataset):
"""

_NUMBERED = (
    _HEAD
    + """
    classes = ["even", "odd"]

    def __init__(self, train, offset=0):
        self.train, self.offset, self.reads = train, offset, 0

    def __len__(self):
        return 6 if self.train else 4

    def __getitem__(self, index):
        self.reads += 1
        return torch.full((1, 3, 5), self.offset + index, dtype=torch.uint8), index % 2
"""
)


def _write(tmp_path: Path, code: str) -> str:
    file = tmp_path / "mine.py"
    file.write_text(code)
    return f"{file}:Mine"


@pytest.mark.parametrize("lazy", [False, True])
def test_splits_labels_and_pixels_are_those_of_the_class(tmp_path: Path, lazy: bool) -> None:
    dataset = own(target=_write(tmp_path, _NUMBERED), arguments={"offset": 7}, lazy=lazy)
    assert dataset.classes == ("even", "odd")
    assert dataset.input_shape == (1, 3, 5)
    assert (len(dataset.train), len(dataset.test)) == (6, 4)
    assert dataset.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    pixels = dataset.train.images[torch.tensor([5, 0])]
    assert pixels.dtype == torch.uint8
    assert (pixels.flatten(1) == torch.tensor([[12], [7]])).all()


def test_splits_by_name_and_a_module_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = _NUMBERED.replace("(self, train,", "(self, split,").replace(
        "self.train,", "self.train, "
    )
    code = code.replace("= train, offset", '= split == "fit", offset')
    (tmp_path / "my_images.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    dataset = own(
        target="my_images:Mine",
        split_argument="split",
        train="fit",
        test="held out",
        val="dev",
        classes=["e", "o"],
    )
    assert dataset.validation is not None
    assert [len(s) for s in (dataset.train, dataset.test, dataset.validation)] == [6, 4, 4]
    assert dataset.classes == ("e", "o")


@pytest.mark.parametrize("lazy", [False, True])
def test_labels_are_those_of_the_items(tmp_path: Path, lazy: bool) -> None:
    """Not of an attribute `targets`, which knows nothing of a target_transform."""
    code = _NUMBERED.replace(
        "self.reads = train, offset, 0",
        "self.reads, self.targets = train, offset, 0, [1, 1, 1, 0, 0, 0]",
    )
    dataset = own(target=_write(tmp_path, code), lazy=lazy)
    assert dataset.train.labels.tolist() == [0, 1] * 3


def test_every_kind_of_image_becomes_bytes() -> None:
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    gray = rgb[:, :, 0]
    planes = torch.from_numpy(rgb).permute(2, 0, 1)
    same: list[Any] = [Image.fromarray(rgb), rgb, planes, planes / 255, rgb / np.float32(255)]
    for image in same:
        assert torch.equal(as_bytes(image), planes)
    same = [Image.fromarray(gray), gray, gray[:, :, None], planes[0], planes[:1], planes[0] / 255]
    for image in same:
        assert torch.equal(as_bytes(image), planes[:1])
    palette = Image.fromarray(rgb).convert("P")
    assert torch.equal(as_bytes(palette), as_bytes(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.randn(3, 4, 4), "leave normalizing to cnnrun"),
        (torch.full((3, 4, 4), torch.nan), "leave normalizing to cnnrun"),
        (torch.zeros(2, 4, 4), "1 to 16 channels"),
        (np.zeros((4, 4), np.int64), "uint8 or float"),
        ("cat.png", "is a str"),
    ],
)
def test_other_images_are_refused(image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_bytes(image)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("self.reads += 1", "raise KeyError('gone')", r"item 0 failed at .*mine.py:19: KeyError"),
        ("self.reads += 1", "np.zeros(3).reshape(2)", r"mine.py:19: ValueError"),
        ("(1, 3, 5)", "(1, 3, 5 + index)", "item 1: 1 x 3 x 6, but item 0 is 1 x 3 x 5"),
        ("index % 2", "'cat'", "the label is 'cat'"),
        ("index % 2", "index % 2 - 1", "the label is -1"),
        ("index % 2", "index", "labels go up to 5, but `classes` has 2"),
        (", index % 2", "", r"expected \(image, label\)"),
        (
            "def __len__(self):",
            "def __len__(self):\n        1 / 0",
            "mine.py:16: ZeroDivisionError",
        ),
        ("return 6", "return 0", "has no items"),
        ("(self, train, ", "(self, ", "train=True.*TypeError"),
        ("(Dataset)", "", "not a subclass of torch.utils.data.Dataset"),
        ("class Mine", "class Mind", "has no 'Mine'; did you mean 'Mind'"),
        ("import numpy as np", "import nunpy as np", "mine.py:2: ModuleNotFoundError"),
        ("class Mine(Dataset):", "class Mine(Dataset:", "mine.py:8.*SyntaxError"),
    ],
)
def test_mistakes_are_reported_where_they_are(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in _NUMBERED
    with pytest.raises(UserError, match=message):
        own(target=_write(tmp_path, _NUMBERED.replace(old, new)))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Mine", "neither"),
        ("nowhere.py:Mine", "no file nowhere.py"),
        ("no.such.module:Mine", "ModuleNotFoundError"),
        ("subprocess:Popen", "not a subclass"),
        ("os:system", "not a subclass"),
    ],
)
def test_only_a_dataset_class_is_called(target: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        own(target=target, arguments={"args": ["touch", "x"]}, split_argument="shell")
