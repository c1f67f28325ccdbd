"""What `eval` scores: the run's own splits, other data whole, and what was trained on of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.runs.checkpoint import find_checkpoint
from tests.conftest import Command

CONFIG = """\
name: n
dataset: {name: folder, root: D, batch_size: 16, cache_dir: cache, size: 8, validation: 0.2}
model: {name: mlp, hidden: [8]}
optimizer: {name: adam, lr: 0.01}
device: cpu
training: {epochs: 1, draw: false}
"""


def noise(place: Path, count: int, seed: int, first: int = 0) -> None:
    """Gray noise as `place/000.png` ..."""
    place.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8), np.uint8)
    for number, image in enumerate(pixels, first):
        Image.fromarray(image).save(place / f"{number:03}.png")


@pytest.fixture
def run(cnnrun: Command, tmp_path: Path) -> Path:
    """A run on a folder of two classes without splits, 30 images each."""
    noise(tmp_path / "D" / "a", 30, 1)
    noise(tmp_path / "D" / "b", 30, 2)
    (tmp_path / "n.yaml").write_text(CONFIG)
    ended = cnnrun("train", "n.yaml", "-q")
    assert ended.code == 0, ended.err
    return Path(ended.out.strip())


def scored(cnnrun: Command, *arguments: object) -> dict[str, int]:
    ended = cnnrun("eval", *arguments, "--json")
    assert ended.code == 0, ended.err
    found: dict[str, int] = json.loads(ended.out)
    return found


def test_each_split_says_what_was_trained_on(cnnrun: Command, run: Path) -> None:
    found = {s: scored(cnnrun, run, "--split", s) for s in ("train", "validation", "test")}
    assert sum(scores["samples"] for scores in found.values()) == 60
    assert found["train"]["trained_on"] == found["train"]["samples"]
    assert found["validation"]["trained_on"] == found["test"]["trained_on"] == 0
    ended = cnnrun("eval", run)
    assert f"test split, {found['test']['samples']} images\n" in ended.out
    assert "none of these images was trained on" in ended.out
    assert "WARNING" not in ended.err + ended.out


def test_a_folder_that_grew_moves_no_trained_image_into_testing(
    cnnrun: Command, run: Path, tmp_path: Path
) -> None:
    before = scored(cnnrun, run)
    noise(tmp_path / "D" / "a", 12, 5, first=30)
    noise(tmp_path / "D" / "b", 1, 6, first=99)
    after = scored(cnnrun, run)
    assert after["trained_on"] == 0
    assert after["samples"] > before["samples"]
    assert "the data have changed since the run was trained" in cnnrun("eval", run).err


@pytest.mark.usefixtures("run")
def test_compare_tells_runs_of_other_data(cnnrun: Command, tmp_path: Path) -> None:
    for seed in (1, 2):
        assert cnnrun("train", "n.yaml", "-q", f"seed={seed}").code == 0
    assert "changed between these runs" not in cnnrun("compare", "runs").out
    noise(tmp_path / "D" / "a", 1, 5, first=30)
    assert cnnrun("train", "n.yaml", "-q", "seed=3", "dataset.size=10").code == 0
    assert cnnrun("train", "n.yaml", "-q", "seed=3").code == 0
    assert "the data in D changed between these runs (2 states)" in cnnrun("compare", "runs").out


def test_renamed_files_are_known_again(cnnrun: Command, run: Path, tmp_path: Path) -> None:
    for file in sorted((tmp_path / "D" / "a").iterdir()):
        file.rename(file.with_name(f"x{file.name}"))
    ended = cnnrun("eval", run, "--json")
    trained = json.loads(ended.out)["trained_on"]
    assert trained > 0
    assert f"WARNING: {trained} of these" in ended.err


@pytest.mark.parametrize("kind", ["folder", "csv", "test rows", "test folder"])
def test_other_data_are_scored_whole(cnnrun: Command, run: Path, tmp_path: Path, kind: str) -> None:
    # Of the same names: it is what they hold that was trained on, or was not.
    noise(tmp_path / "E" / "a", 12, 7)
    noise(tmp_path / "E" / "b", 8, 8)
    if kind == "test folder":
        noise(tmp_path / "F" / "test" / "b", 20, 9)
        found = scored(cnnrun, run, "dataset.root=F")
    elif kind == "folder":
        found = scored(cnnrun, run, "dataset.root=E")
        assert "all 20 images\n" in cnnrun("eval", run, "dataset.root=E").out
    else:
        split = ",test" if kind == "test rows" else ""
        files = sorted(Path("E").rglob("*.png"))
        rows = "".join(f"{file},{file.parent.name}{split}\n" for file in files)
        (tmp_path / "E.csv").write_text("path,label" + ",split" * bool(split) + "\n" + rows)
        found = scored(cnnrun, run, "dataset={name: csv, file: E.csv, size: 8}")
    assert found["samples"] == 20
    assert found["trained_on"] == 0


def test_a_whole_new_section_prepares_images_as_in_training(
    cnnrun: Command, tmp_path: Path
) -> None:
    """What it does not say is not the default, but what the network was trained with."""
    for kind, seed in (("a", 1), ("b", 2)):
        for folder in ("D", "E"):
            (tmp_path / folder / kind).mkdir(parents=True)
            for k in range(12):
                random = np.random.default_rng(100 * seed + k + ord(folder))
                pixels = random.integers(0, 256, (20, 12 + k), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / kind / f"{k}.png")
    Path("c.yaml").write_text(
        "dataset: {name: folder, root: D, size: 8, resize: pad, crop_fraction: 0.5}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    run = cnnrun("train", "c.yaml", "-q").out.strip()
    wanted = scored(cnnrun, run, "dataset.root=E")
    assert scored(cnnrun, run, "dataset={name: folder, root: E}") == wanted
    other = scored(cnnrun, run, "dataset={name: folder, root: E, crop_fraction: 1}")
    assert other == scored(cnnrun, run, "dataset.root=E", "dataset.crop_fraction=1")
    assert other["loss"] != wanted["loss"]


def test_the_same_data_in_another_place_keep_their_splits(
    cnnrun: Command, run: Path, tmp_path: Path
) -> None:
    before = cnnrun("eval", run, "--json").out
    (tmp_path / "D").rename(tmp_path / "moved")
    assert cnnrun("eval", run, "--json", "dataset.root=moved").out == before
    noise(tmp_path / "moved" / "a", 1, 5, first=77)
    ended = cnnrun("eval", run, "dataset.root=moved")
    assert "all 61 images" in ended.out
    assert "WARNING" in ended.err


def test_an_older_checkpoint_does_not_say(cnnrun: Command, run: Path, tmp_path: Path) -> None:
    held = torch.load(find_checkpoint(run), weights_only=True)
    del held["data"]
    torch.save(held, tmp_path / "old.pt")
    assert scored(cnnrun, "old.pt")["trained_on"] is None


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("seed=5", "the splits are those"),
        ("dataset.validation=0.5", "the splits are those"),
        ("dataset.limit=10", "the splits are those"),
        ("dataset.test=0.5", "the splits are those"),
        ("dataset.normalize=none", "normalized as in training"),
        ("dataset.augment=[horizontal_flip]", "only training"),
        ("model.hidden=[9]", "the one that was trained"),
        ("optimizer.lr=1", "only training"),
        ("training.epochs=9", "only training"),
    ],
)
def test_what_would_change_nothing_is_refused(
    cnnrun: Command, run: Path, override: str, reason: str
) -> None:
    ended = cnnrun("eval", run, override, "--split", "validation")
    assert ended.code == 2
    assert reason in ended.err
    assert override.partition("=")[0] in ended.err


def test_what_changes_scores_or_speed_is_taken(cnnrun: Command, run: Path) -> None:
    smoothed = "loss={name: cross_entropy, label_smoothing: 0.3}"
    for override in ("dataset.batch_size=7", "dataset.threads=1", smoothed, "seed=0"):
        assert cnnrun("eval", run, override).code == 0, override


def test_filters_need_no_data(cnnrun: Command, tmp_path: Path) -> None:
    noise(tmp_path / "D" / "a", 10, 1)
    noise(tmp_path / "D" / "b", 10, 2)
    (tmp_path / "n.yaml").write_text(CONFIG)
    run = cnnrun("train", "n.yaml", "-q", "model={name: cnn, channels: [4]}").out.strip()
    (tmp_path / "D").rename(tmp_path / "gone")
    assert cnnrun("viz", "filters", run).code == 0
    assert "there is no folder D" in cnnrun("viz", "confusion", run).err


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar100"])
def test_a_network_for_a_fixed_set_is_described_without_it(
    cnnrun: Command, tmp_path: Path, name: str
) -> None:
    (tmp_path / "n.yaml").write_text(CONFIG)
    found = "dataset={name: " + name + ", root: nowhere, size: [20, 24]}"
    ended = cnnrun("describe", "n.yaml", found, "--json")
    assert ended.code == 0, ended.err
    assert "[20, 24]" in ended.out or "20, 24" in ended.out


def test_one_class_is_refused_and_its_place_told(cnnrun: Command, tmp_path: Path) -> None:
    noise(tmp_path / "D" / "top" / "a", 10, 1)
    noise(tmp_path / "D" / "top" / "b", 10, 2)
    (tmp_path / "n.yaml").write_text(CONFIG)
    for command in ("train", "check"):
        ended = cnnrun(command, "n.yaml")
        assert ended.code == 2
        assert "only one class, 'top'" in ended.err
        assert "name D/top" in ended.err
    assert "only one class" in cnnrun("data", "n.yaml").out
    assert cnnrun("train", "n.yaml", "dataset.root=D/top", "-q").code == 0


def test_copies_across_splits_are_told(cnnrun: Command, tmp_path: Path) -> None:
    noise(tmp_path / "D" / "train" / "a", 10, 1)
    noise(tmp_path / "D" / "train" / "b", 10, 2)
    noise(tmp_path / "D" / "test" / "a", 3, 1)
    noise(tmp_path / "D" / "test" / "b", 3, 9)
    (tmp_path / "n.yaml").write_text(CONFIG)
    ended = cnnrun("check", "n.yaml")
    assert "3 of 6 test images are copies of training images" in ended.err
