"""Arrays in a file, and targets of one's own Dataset, of every kind."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnrun.data.identity import identified
from cnnrun.data.images.arrays import quantized
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.sources import npz_file
from cnnrun.data.sources.npz_file import npz
from cnnrun.data.sources.own import own
from cnnrun.errors import UserError
from tests.conftest import Command

_RANDOM = np.random.default_rng(0)
COUNT = 12
IMAGES = _RANDOM.integers(0, 256, (COUNT, 5, 4, 3), dtype=np.uint8)
ROWS: dict[str, Any] = {
    "labels": np.arange(COUNT)[:, None] % 3,
    "label_sets": _RANDOM.integers(0, 2, (COUNT, 3)),
    "values": _RANDOM.standard_normal((COUNT, 2)),
    "masks": _RANDOM.integers(0, 3, (COUNT, 5, 4), dtype=np.uint8),
}


def _save(folder: Path, **arrays: Any) -> str:
    np.savez_compressed(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("names", ["{0}_images {0}_labels", "x_{0} y_{0}"])
def test_arrays_are_the_targets_that_they_look_like(tmp_path: Path, kind: str, names: str) -> None:
    arrays = {}
    for split, rows in {"train": slice(8), "val": slice(8, 10), "test": slice(10, 12)}.items():
        for name, held in zip(names.format(split).split(), (IMAGES, ROWS[kind]), strict=True):
            arrays[name] = held[rows]
    data = npz(ImageOptions(), file=_save(tmp_path, **arrays))
    assert data.train.targets.kind == kind
    seen = data.train.images[torch.arange(8)].permute(0, 2, 3, 1)
    assert np.array_equal(seen.numpy(), IMAGES[:8])
    expected = torch.as_tensor(ROWS[kind][10:]).float()
    held = data.test.targets.held.float()
    assert torch.equal(held, expected.view(held.shape))
    assert len(data.split("validation")) == 2
    assert len(data.classes) == {"values": 2}.get(kind, 3)


def test_without_splits_contents_decide(tmp_path: Path) -> None:
    labels = np.arange(COUNT) % 2
    file = _save(tmp_path, images=IMAGES[..., 0] / 255, labels=labels)
    data = npz(ImageOptions(), file=file, test=0.4, classes=["a", "b"])
    tested = {bytes(image.numpy()) for image in data.test.images[torch.arange(len(data.test))]}
    order = _RANDOM.permutation(COUNT)
    file = _save(tmp_path, images=IMAGES[order, ..., 0] / 255, labels=labels[order])
    again = npz(ImageOptions(), file=file, test=0.4, classes=["a", "b"])
    assert {bytes(i.numpy()) for i in again.test.images[torch.arange(len(again.test))]} == tested
    assert identified(again).fingerprint == identified(data).fingerprint
    file = _save(tmp_path, images=IMAGES[order, ..., 0] / 255, labels=1 - labels[order])
    changed = npz(ImageOptions(), file=file, test=0.4, classes=["a", "b"])
    assert identified(changed).fingerprint != identified(data).fingerprint


@pytest.mark.parametrize(
    ("arrays", "keys", "told"),
    [
        ({"labels": [1]}, {}, "no array of training images"),
        ({"images": IMAGES}, {}, "no targets for images"),
        ({"images": IMAGES, "labels": [1, 2]}, {}, "12 images and 2 targets"),
        (
            {"images": IMAGES, "labels": [-1] * 12},
            {},
            "labels with -1 (sample 0); expected",
        ),
        ({"images": IMAGES, "labels": [10**9] * 12}, {}, "labels with 1000000000"),
        ({"images": IMAGES, "labels": ["a"] * 12}, {}, "not numbers"),
        ({"images": IMAGES, "labels": [object()] * 12}, {}, "not numbers"),
        ({"images": IMAGES, "y": np.full((12, 2), np.nan)}, {}, "values with nan"),
        ({"images": IMAGES, "y": np.full((12, 2), 2)}, {}, "label sets with 2"),
        ({"images": IMAGES, "y": np.full((12, 5, 4), 900)}, {}, "masks with 900"),
        ({"images": IMAGES, "y": np.zeros((12, 4, 5), int)}, {}, "sizes (4 x 5 and 5 x 4"),
        ({"images": IMAGES, "y": ROWS["values"]}, {"targets": "masks"}, "masks of shape (12, 2)"),
        ({"images": IMAGES * 1.0, "labels": [1] * 12}, {}, "values go from"),
        ({"images": IMAGES, "y": np.array(3)}, {}, "targets of shape () hold nothing"),
        ({"images": np.zeros((12, 0, 8)), "y": [1] * 12}, {}, "(12, 0, 8) hold nothing"),
        ({"images": IMAGES, "y": np.zeros((12, 0), int)}, {}, "targets of shape (12, 0) hold"),
        ({"images": IMAGES, "y": 1.6e9 + ROWS["values"]}, {}, "32-bit numbers barely distinguish"),
        (
            {"images": IMAGES, "y": 1e300 * ROWS["values"]},
            {},
            "32-bit numbers do not reach; divide it by a large number",
        ),
        ({"images": IMAGES[0], "labels": [1] * 5, "x": IMAGES}, {}, "both match"),
        ({"images": IMAGES, "y": ROWS["values"]}, {"classes": ["a"]}, "has 1 different names"),
    ],
)
def test_arrays_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, Any], keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as error:
        npz(ImageOptions(), file=_save(tmp_path, **arrays), **keys)
    assert told in str(error.value)
    assert "data.npz" in str(error.value)


def test_splits_with_targets_of_several_kinds(tmp_path: Path) -> None:
    file = _save(tmp_path, train_images=IMAGES, train_labels=ROWS["labels"], test_images=IMAGES,
                 test_masks=ROWS["masks"])  # fmt: skip
    with pytest.raises(UserError, match=r"targets of several kinds \(labels, masks\)"):
        npz(ImageOptions(), file=file)


def test_more_arrays_than_any_honest_file_has(tmp_path: Path) -> None:
    file = _save(tmp_path, **{f"a{k}": [k] for k in range(10_001)})
    with pytest.raises(UserError, match="arrays; the most is"):
        npz(ImageOptions(), file=file)


def test_one_of_several_targets_is_named(tmp_path: Path) -> None:
    file = _save(tmp_path, images=IMAGES, labels=ROWS["labels"], masks=ROWS["masks"])
    with pytest.raises(UserError, match=r"labels and masks both match; set dataset\.target"):
        npz(ImageOptions(), file=file)
    assert npz(ImageOptions(), file=file, target="masks").train.targets.kind == "masks"


def test_only_what_is_meant_is_read(tmp_path: Path) -> None:
    """Arrays next to it may hold text or objects, which are never unpacked."""
    more = {"class_names": np.array(["a", "b"]), "about": np.array({"a": 1}, dtype=object)}
    file = _save(tmp_path, images=IMAGES, labels=ROWS["labels"], **more)
    assert len(npz(ImageOptions(), file=file).classes) == 3


def test_what_is_scored_alone_needs_no_training_images(tmp_path: Path) -> None:
    file = _save(tmp_path, x_test=IMAGES, y_test=ROWS["labels"])
    dataset = npz(ImageOptions(whole=True), file=file)
    assert (len(dataset.train), len(dataset.test)) == (0, COUNT)
    with pytest.raises(UserError, match="no array of training images"):
        npz(ImageOptions(), file=file)


_HEADER = "{{'descr': '{0}', 'fortran_order': False, 'shape': {1}}}"


@pytest.mark.parametrize(
    "header",
    [
        _HEADER.format("<f8", f"({'-' * 9000}1,)"),
        _HEADER.format("<f8", f"{'(' * 4000}1{')' * 4000}"),
        _HEADER.format("<f8", "(True,)"),
        _HEADER.format("<f8", "(-1, -1)"),
        _HEADER.format("<f8", f"({'9' * 5000},)"),
        _HEADER.format("|O", "(1,)"),
        "[1]",
    ],
)
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_headers_that_nobody_writes(tmp_path: Path, header: str, packing: int) -> None:
    text = (header + "\n").encode()
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)
    with zipfile.ZipFile(tmp_path / "data.npz", "w", packing) as archive:
        archive.writestr("x.npy", array)
        archive.writestr("y.npy", array)
    with pytest.raises(UserError) as error:
        npz(ImageOptions(), file=str(tmp_path / "data.npz"))
    assert "no file of numpy's arrays, or damaged" in str(error.value)
    assert len(str(error.value)) < 500
    content = bytearray((tmp_path / "data.npz").read_bytes())
    content[50:80] = bytes(0xFF ^ byte for byte in content[50:80])
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(UserError):
        npz(ImageOptions(), file=str(tmp_path / "data.npz"))


def test_hostile_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(_save(tmp_path, images=IMAGES, labels=ROWS["labels"]))
    content = file.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 5):
        file.write_bytes(content[:cut])
        with pytest.raises(UserError, match=r"data\.npz: no file of numpy's arrays, or damaged"):
            npz(ImageOptions(), file=str(file))
    for k in range(0, len(content), 97):
        file.write_bytes(content[:k] + bytes([content[k] ^ 0xFF]) + content[k + 1 :])
        with suppress(UserError):  # what is no UserError fails
            npz(ImageOptions(), file=str(file))
    form = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }"
    header = b"\x93NUMPY\x01\x00\x76\x00" + form
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", header.ljust(127) + b"\n")
        archive.writestr("labels.npy", header.ljust(127) + b"\n")
    with pytest.raises(UserError, match="claims to be"):
        npz(ImageOptions(), file=str(file))
    file.write_bytes(content)
    monkeypatch.setattr(npz_file, "memory_left", lambda: 100)
    with pytest.raises(UserError, match="of memory"):
        npz(ImageOptions(), file=str(file))


_OWN = """
import numpy as np
import torch
from torch.utils.data import Dataset

class Mine(Dataset):
    def __init__(self, train, bad=None):
        held = np.load({file!r})
        self.images, self.rows, self.bad = held["images"], held["rows"], bad

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        row = self.rows[index]
        if index == self.bad:
            row = row[:-1]
        return self.images[index], torch.from_numpy(np.array(row))
"""


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["label_sets", "values", "masks"])
def test_ones_own_dataset_gives_every_kind(tmp_path: Path, kind: str, lazy: bool) -> None:
    file = _save(tmp_path, images=IMAGES, rows=ROWS[kind])
    (tmp_path / "mine.py").write_text(_OWN.format(file=file))
    target = f"{tmp_path / 'mine.py'}:Mine"
    data = own(target=target, lazy=lazy)
    assert data.train.targets.kind == kind
    assert torch.equal(data.train.targets.held.float(), torch.as_tensor(ROWS[kind]).float())
    assert len(data.classes) == {"values": 2}.get(kind, 3)
    with pytest.raises(UserError, match="item 5: "):
        own(target=target, arguments={"bad": 5}, lazy=lazy)
    if kind == "label_sets":
        asked = own(target=target, targets="values", classes=["a", "b", "c"])
        assert (asked.train.targets.kind, asked.classes) == ("values", ("a", "b", "c"))


def test_arrays_are_trained_on(cnnrun: Command, tmp_path: Path) -> None:
    file = _save(tmp_path, images=IMAGES, masks=ROWS["masks"])
    (tmp_path / "arrays.yaml").write_text(
        "task: segment\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
        "model: {name: unet, encoder: {name: cnn, channels: [4]}}\n"
        f"dataset: {{name: npz, file: {file}, batch_size: 4, size: 8}}\n"
    )
    ended = cnnrun("train", "arrays.yaml", "-q")
    assert ended.code == 0, ended.err
    assert cnnrun("eval", ended.out.strip()).code == 0


def test_values_keep_their_digits_until_they_are_compared(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from torch.utils.data import Dataset\n"
        "class Times(Dataset):\n"
        "    def __init__(self, train): pass\n"
        "    def __len__(self): return 12\n"
        "    def __getitem__(self, k):\n"
        "        return np.full((4, 4), k, np.uint8), np.array([1.6e9 + k])\n"
    )
    with pytest.raises(UserError, match=r"from 1600000000 to 1600000011, .* barely distinguish"):
        own(ImageOptions(), target=f"{tmp_path / 'own.py'}:Times", targets="values")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.5, 3.0])
def test_an_image_of_wrong_values_is_named(bad: float) -> None:
    images = torch.rand(12, 1, 4, 4)
    images[7, 0, 1, 2] = bad
    with pytest.raises(UserError, match=r"values go from .* \(sample 7\)"):
        quantized(images)
    with pytest.raises(UserError, match=r"values go from .* \(sample 7\)"):
        quantized(images, ImageReading.of(bits=1))
    if np.isnan(bad):
        with pytest.raises(UserError, match=r"from nan to nan \(sample 7\).*dataset.range"):
            quantized(images, ImageReading.of(span=[0.0, 1.0]))
    else:
        quantized(images, ImageReading.of(span=[0.0, 1.0]))
