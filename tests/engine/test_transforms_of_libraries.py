"""torchvision's and albumentations' transforms in a run: the same images however it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun.data import batches as batches_module
from cnnrun.data import decoding_workers
from cnnrun.data.decoding_plan import Plan
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import Command
from tests.forking import together

CONFIG = """\
task: segment
dataset:
  name: mask_folders
  root: D
  mask_classes: [ground, brick, grass]
  test: 6
  validation: 6
  batch_size: 6
  augment:
    - {name: torchvision/RandomRotation, degrees: 30}
    - {name: albumentations/Affine, rotate: [-20, 20], scale: [0.8, 1.2], p: 1}
    - horizontal_flip
    - {name: albumentations/RandomBrightnessContrast, p: 0.8}
    - {name: torchvision/ColorJitter, brightness: 0.4, hue: 0.1}
model: {name: unet, encoder: {name: cnn, channels: [4, 8]}}
optimizer: {name: sgd, lr: 0.1}
device: cpu
training: {epochs: 2, draw: false}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "D" / kind).mkdir(parents=True)
    for k in range(30):
        mask = np.kron(random.integers(0, 3, (4, 4), dtype=np.uint8), np.ones((4, 4), np.uint8))
        noise = random.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(mask[:, :, None] * 80 + noise).save(folder / f"D/images/{k}.png")
        Image.fromarray(mask).save(folder / f"D/masks/{k}.png")
    (folder / "c.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def stand_there(cnnrun: Command, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cnnrun, "it goes to a folder of its own, which comes before"
    monkeypatch.chdir(files)


@pytest.fixture(scope="module")
def plain(files: Path) -> Callable[[Command], Path]:
    known: list[Path] = []

    def run(cnnrun: Command) -> Path:
        if not known:
            ended = cnnrun("train", "c.yaml", "-q", "output=plain", "dataset.threads=1")
            assert ended.code == 0, ended.err
            known.append(files / ended.out.strip())
        return known[0]

    return run


Plain = Callable[[Command], Path]
pytestmark = pytest.mark.usefixtures("stand_there")


def _same(one: Path, other: Path) -> None:
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    ours, theirs = (Checkpoint.load(run / "checkpoints/last.pt").model for run in (one, other))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("how", ["dataset.threads=3", "dataset.cache=ram", "processes"])
def test_decoded_otherwise(
    cnnrun: Command, plain: Plain, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    wanted = plain(cnnrun)
    if how == "processes":
        monkeypatch.setattr(batches_module, "plan", lambda *_: Plan(processes=2, ahead=2))
        for module in (batches_module, decoding_workers):
            monkeypatch.setattr(module, "PIECE", 3)
    changes = [] if how == "processes" else [how]
    ended = cnnrun("train", "c.yaml", "-q", f"output={how}", *changes)
    assert ended.code == 0, ended.err
    _same(Path(ended.out.strip()), wanted)


@pytest.mark.parametrize("step", [1, 4])
def test_killed_and_resumed(
    cnnrun: Command, plain: Plain, killed_and_resumed: Callable[..., tuple[Path, Path]], step: int
) -> None:
    _, cut = killed_and_resumed(step, "c.yaml", f"output=cut{step}")
    _same(cut, plain(cnnrun))


def test_in_two_processes_each_of_which_draws_for_its_images() -> None:
    """Their draws are not those of one process, but the same every time, and after a resume."""
    config = ("c.yaml", "-q", "model.encoder.batch_norm=false")
    whole = together(2, "train", *config, "output=two")
    assert whole.code == 0, whole.err
    half = together(2, "train", *config, "output=half", "training.epochs=1", "dataset.threads=3")
    assert half.code == 0, half.err
    ended = together(2, "train", "--resume", half.out.strip(), "training.epochs=2", "-q")
    assert ended.code == 0, ended.err
    _same(Path(half.out.strip()), Path(whole.out.strip()))
