"""What any pixel format becomes: 8 bits, by a stated rule, the same for files and Datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.modes import as_8_bit
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.sources.folder import folder
from cnnrun.data.sources.own import own
from cnnrun.errors import UserError
from tests.conftest import Command

RAMP = np.linspace(0, 1, 48).reshape(6, 8)


def write(root: Path, pixels: NDArray[Any], ending: str = "tif", **save: Any) -> None:
    for kind in ("a", "b"):
        (root / kind).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            Image.fromarray(pixels).save(root / kind / f"{number}.{ending}", **save)


def opened(root: Path, cache: Any = "none", **options: Any) -> tuple[Dataset, ImageOptions]:
    given = ImageOptions(threads=1, cache=cache, cache_dir=str(root.parent / "cache"), **options)
    return folder(given, root=str(root)), given


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
@pytest.mark.parametrize("ending", ["tif", "png"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_16_are_refused_or_told_until_said(
    tmp_path: Path, cache: str, ending: str, bits: int
) -> None:
    pixels = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    write(tmp_path / "D", pixels, ending)
    if bits <= 12:
        with pytest.raises(UserError, match=f"dataset.bits.* {bits}, it seems"):
            opened(tmp_path / "D", cache)
    else:
        assert any("dataset.bits: 14" in n for n in opened(tmp_path / "D", cache)[1].notes)
    dataset, _ = opened(tmp_path / "D", cache, reading=ImageReading.of(bits))
    expected = np.rint(pixels * (255 / (2**bits - 1)))
    assert np.abs(dataset.train.images[torch.arange(1)][0, 0].numpy() - expected).max() <= 1
    dark, options = opened(tmp_path / "D", cache, reading=ImageReading.of(16))
    assert int(dark.train.images[torch.arange(1)].max()) == round((2**bits - 1) / 257)
    assert not any("dataset.bits" in note for note in options.notes)


def test_values_beyond_the_bits_are_bad_files(tmp_path: Path) -> None:
    write(tmp_path / "D", np.rint(RAMP * 5000).astype(np.uint16))
    with pytest.raises(UserError, match=r"0 to 5000; expected 0 to 4095"):
        opened(tmp_path / "D", reading=ImageReading.of(12))


def test_all_16_bits_are_taken_as_before(tmp_path: Path) -> None:
    pixels = np.rint(RAMP * 65535).astype(np.uint16)
    write(tmp_path / "D", pixels)
    dataset, options = opened(tmp_path / "D")
    found = dataset.train.images[torch.arange(1)][0, 0].numpy()
    assert np.array_equal(found, np.rint(pixels / 257))
    assert not any("dataset.bits" in note for note in options.notes)


def test_pages_and_frames_are_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((6, 8), level, np.uint8)) for level in (10, 200, 90)]
    for kind in ("a", "b"):
        (tmp_path / "D" / kind).mkdir(parents=True)
        for number in range(4):
            file = tmp_path / "D" / kind / f"{number}.tif"
            pages[0].save(file, save_all=True, append_images=pages[1 : 1 + 2 * (number == 0)])
        pages[0].save(tmp_path / "D" / kind / "z.gif", save_all=True, append_images=pages[1:])
    dataset, options = opened(tmp_path / "D")
    assert any(note.startswith("4 files hold several images") for note in options.notes)
    levels = dataset.train.images[torch.arange(len(dataset.train))].unique().tolist()
    assert set(levels) <= {9, 10, 11}


OWN = """
import numpy as np, torch
from PIL import Image
RAMP = np.linspace(0, 1, 48).reshape(6, 8)

class Set(torch.utils.data.Dataset):
    def __init__(self, train, mode="L", bits=16, jitter=False):
        self.train, self.mode, self.bits, self.jitter = train, mode, bits, jitter
        self.targets = [0] * 8
    def __len__(self):
        return 8
    def __getitem__(self, i):
        ramp = np.roll(RAMP, i + 8 * self.train, 1)
        if self.jitter:
            ramp = ramp * np.random.rand()
        if self.mode == "I;16":
            image = Image.fromarray(np.rint(ramp * (2 ** self.bits - 1)).astype(np.uint16))
        elif self.mode == "F":
            image = Image.fromarray(ramp.astype(np.float32))
        else:
            image = Image.fromarray(np.rint(ramp * 255).astype(np.uint8)).convert(self.mode)
            if self.mode in ("RGBA", "LA"):
                image.putalpha(Image.fromarray(np.rint(ramp * 255).astype(np.uint8)))
        return image, (i + 1) % 2
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(OWN)
    return f"{tmp_path / 'mine.py'}:Set"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16", "F"])
def test_lazy_and_eager_datasets_agree_with_files(target: str, mode: str) -> None:
    eager, lazy = (
        own(ImageOptions(), target=target, arguments={"mode": mode}, lazy=lazy)
        for lazy in (False, True)
    )
    everything = torch.arange(8)
    assert torch.equal(eager.train.images[everything], lazy.train.images[everything])
    assert eager.train.labels.tolist() == lazy.train.labels.tolist() == [1, 0] * 4
    assert torch.equal(eager.train.ids, lazy.train.ids)
    from cnnrun_own_mine import Set  # type: ignore[import-not-found]

    image = Set(True, mode)[3][0]
    expected = np.asarray(as_8_bit(image, eager.input_shape[0])).reshape(6, 8, -1)
    found = eager.train.images[torch.tensor([3])][0].numpy()
    assert np.array_equal(found, expected.transpose(2, 0, 1))
    assert len(eager.train.images[everything].unique()) > 20


def test_a_datasets_fewer_bits_are_refused_until_said(target: str) -> None:
    arguments = {"mode": "I;16", "bits": 12}
    for lazy in (False, True):
        with pytest.raises(UserError, match="12, it seems"):
            own(ImageOptions(), target=target, arguments=arguments, lazy=lazy)
    dataset = own(ImageOptions(reading=ImageReading.of(12)), target=target, arguments=arguments)
    assert int(dataset.train.images[torch.arange(8)].max()) == 255


def test_a_dataset_that_is_another_each_time_is_known_by_position(target: str) -> None:
    dataset = own(ImageOptions(), target=target, arguments={"jitter": True})
    assert dataset.train.ids.tolist() == list(range(8))
    assert dataset.train.keys is None


def test_prediction_uses_the_bits_of_the_training(cnnrun: Command, tmp_path: Path) -> None:
    pixels = np.rint(RAMP * 4095).astype(np.uint16)
    write(tmp_path / "D" / "train", pixels)
    write(tmp_path / "D" / "test", pixels)
    (tmp_path / "n.yaml").write_text(
        "name: n\ndataset: {name: folder, root: D, bits: 12, cache_dir: c, validation: 0}\n"
        "model: {name: mlp, hidden: [4]}\noptimizer: {name: sgd, lr: 0.1}\ndevice: cpu\n"
        "training: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "n.yaml", "-q")
    assert ended.code == 0, ended.err
    run = ended.out.strip()
    assert cnnrun("predict", run, "D/test/a/0.tif").code == 0
    write(tmp_path / "bright", np.full((6, 8), 60_000, np.uint16))
    assert "expected 0 to 4095" in cnnrun("predict", run, "bright/a/0.tif").err
