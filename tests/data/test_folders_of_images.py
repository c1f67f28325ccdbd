"""What went wrong for people with folders of images in other tools, as users of this one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command, Result

COLOURS = {"cat": 0, "dog": 2, "ant": 1}


def _image(random: np.random.Generator, kind: str, size: int = 32) -> Image.Image:
    """Noise, reddish for cats, bluish for dogs, greenish for ants."""
    pixels = random.integers(0, 81, (size, size, 3)).astype(np.uint8)
    pixels[..., COLOURS[kind]] += 150
    return Image.fromarray(pixels)


def _add(root: Path, kind: str) -> None:
    random = np.random.default_rng(COLOURS[kind])
    for split, count in (("train", 24), ("val", 8)):
        folder = root / split / kind
        folder.mkdir(parents=True)
        for i in range(count):
            _image(random, kind).save(folder / f"{i:02}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "D"
    for kind in ("cat", "dog"):
        _add(root, kind)
    return root


@pytest.fixture
def base(tmp_path: Path, data: Path) -> Path:
    file = tmp_path / "base.yaml"
    file.write_text(
        f"dataset: {{name: folder, root: '{data}', batch_size: 8, cache_dir: '{tmp_path}/cache'}}\n"
        "model: {name: cnn, channels: [8, 8], batch_norm: true}\n"
        "optimizer: {name: sgd, lr: 0.01}\n"
        "device: cpu\n"
        "training: {epochs: 2, draw: false}\n"
    )
    return file


def _accuracy(cnnrun: Command, ended: Result) -> float:
    assert ended.code == 0, ended.err
    scores = json.loads(cnnrun("eval", ended.out.split()[0], "--json").out)
    return float(scores["accuracy"])


def test_cmyk_jpegs_are_converted_and_counted(cnnrun: Command, base: Path, data: Path) -> None:
    image = Image.open(data / "train/cat/00.png").convert("CMYK")
    image.save(data / "train/cat/cmyk.jpg")
    ended = cnnrun("train", base, "-q")
    assert ended.code == 0, ended.err
    assert "1 CMYK" in ended.err


def test_16_bit_images_keep_their_range(cnnrun: Command, base: Path, data: Path) -> None:
    random = np.random.default_rng(0)
    for kind, level in (("cat", 10_000), ("dog", 50_000)):
        for file in sorted(data.glob(f"*/{kind}/*.png")):
            pixels = random.integers(level - 2000, level + 2000, (32, 32)).astype(np.uint16)
            Image.fromarray(pixels).save(file)
    ended = cnnrun("train", base, "-q", "training.epochs=5")
    assert _accuracy(cnnrun, ended) == 1.0


@pytest.mark.parametrize("threads", [1, 2])
def test_damaged_files_stop_or_are_left_out(
    cnnrun: Command, base: Path, data: Path, threads: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    half, empty = data / "train/cat/half.jpg", data / "train/dog/empty.jpg"
    Image.fromarray(noise).save(half)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    empty.touch()
    size = ("dataset.size=32", f"dataset.threads={threads}")
    ended = cnnrun("train", base, *size)
    assert ended.code == 1
    assert str(half) in ended.err
    assert str(empty) in ended.err
    assert "dataset.on_error: skip" in ended.err
    (listed,) = Path("runs").rglob("bad_files.csv")
    assert len(listed.read_text().splitlines()) == 3
    ended = cnnrun("train", base, "-q", *size, "dataset.on_error=skip")
    assert ended.code == 0, ended.err
    assert "left out 2 samples that can't be read" in ended.err
    rows = (Path(ended.out.strip()) / "bad_files.csv").read_text()
    assert "half.jpg" in rows
    assert "empty.jpg" in rows


@pytest.mark.parametrize("where", ["train", "val"])
@pytest.mark.parametrize("empty", [True, False])
def test_hidden_folders_are_no_classes(
    cnnrun: Command, base: Path, data: Path, where: str, empty: bool
) -> None:
    hidden = data / where / ".ipynb_checkpoints"
    hidden.mkdir()
    if not empty:
        shutil.copy(data / "train/cat/00.png", hidden)
    ended = cnnrun("check", base)
    assert ended.code == 0, ended.err
    assert "classes     2" in ended.out


def test_endings_in_any_case_are_found(cnnrun: Command, base: Path, data: Path) -> None:
    for i, file in enumerate(sorted((data / "train").rglob("*.png"))):
        if i % 2:
            file.rename(file.with_suffix([".PNG", ".JPG", ".Jpeg"][i % 3]))
    ended = cnnrun("check", base, "dataset.validation=0")
    assert ended.code == 0, ended.err
    report = json.loads(cnnrun("data", base, "--json").out)
    assert "48" in json.dumps(report)


def test_tiny_and_long_images_are_resized(cnnrun: Command, base: Path, data: Path) -> None:
    for width, height in ((1, 1), (3, 1), (1, 500), (5000, 1)):
        Image.new("RGB", (width, height), (200, 0, 0)).save(
            data / "train/cat" / f"{width}x{height}.png"
        )
    assert cnnrun("train", base, "-q", "dataset.size=32").code == 0
    ended = cnnrun("train", base, "-q")
    assert "set dataset.size" in ended.err
    assert "5000" in ended.err


@pytest.mark.slow
def test_a_class_that_is_missing_from_evaluation(
    cnnrun: Command, base: Path, data: Path, tmp_path: Path
) -> None:
    """dog's figures must not change when cat is missing, empty, or replaced by another class."""
    _add(data, "ant")
    run = cnnrun("train", base, "-q", "training.epochs=4").out.strip()

    def dog(*overrides: str) -> Any:
        ended = cnnrun("eval", run, "--json", *overrides)
        assert ended.code == 0, ended.err
        return next(r for r in json.loads(ended.out)["per_class"] if r["class"] == "dog")["recall"]

    whole = dog()
    other = tmp_path / "E"
    shutil.copytree(data, other)
    shutil.rmtree(other / "val/cat")
    assert dog(f"dataset.root={other}") == whole
    (other / "val/cat").mkdir()
    assert dog(f"dataset.root={other}") == whole
    shutil.rmtree(other / "val/cat")
    shutil.copytree(data / "val/cat", other / "val/emu")
    ended = cnnrun("eval", run, f"dataset.root={other}")
    assert ended.code in (1, 2)
    assert "emu" in ended.err


def test_imagenet_as_plain_folders(cnnrun: Command, base: Path, data: Path, tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    for split in ("train", "val"):
        for wnid, kind in (("n01440764", "cat"), ("n01443537", "dog")):
            shutil.copytree(data / split / kind, root / split / wnid)
    ended = cnnrun("check", base, f"dataset={{name: imagenet, root: {root}, size: 32}}")
    assert ended.code == 0, ended.err
    flat = tmp_path / "flat"
    shutil.copytree(data / "train", flat / "train")
    (flat / "val").mkdir(parents=True)
    for file in (data / "val/cat").iterdir():
        shutil.copy(file, flat / "val")
    ended = cnnrun("check", base, f"dataset.root={flat}")
    assert ended.code in (1, 2)
    assert "val" in ended.err
    assert "Traceback" not in ended.err


def test_names_in_any_script_from_folder_to_image(cnnrun: Command, base: Path, data: Path) -> None:
    names = {"cat": "猫 $x_1$", "dog": "Ångström кот"}
    for split in ("train", "val"):
        for old, new in names.items():
            (data / split / old).rename(data / split / new)
    ended = cnnrun("train", base, "-q")
    assert ended.code == 0, ended.err
    assert "was not drawn" not in ended.err
    assert "Warning" not in ended.err
    scores = json.loads(cnnrun("eval", ended.out.strip(), "--json").out)
    assert set(scores["classes"]) == set(names.values())


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_caches_change_the_speed_alone(cnnrun: Command, base: Path, cache: str) -> None:
    logs = set()
    for how in ("none", cache, cache):
        run = cnnrun("train", base, "-q", f"dataset.cache={how}").out.strip()
        logs.add((Path(run) / "metrics.jsonl").read_text())
    assert len(logs) == 1


def test_threads_and_resuming_change_no_random_crop(cnnrun: Command, base: Path) -> None:
    crop = "dataset.augment=[random_resized_crop, horizontal_flip]"
    logs = set()
    for threads in (1, 3):
        run = cnnrun("train", base, "-q", crop, f"dataset.threads={threads}").out.strip()
        logs.add((Path(run) / "metrics.jsonl").read_text())
    assert len(logs) == 1
