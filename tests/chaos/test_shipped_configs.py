"""`cnnrun verify-resume` on every config that is shipped, cut down to seconds each."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
from torchvision.io import write_jpeg

from cnnrun.runs import verify_resume
from tests.conftest import CONFIGS, EXPERIMENTS, THOROUGH, Command, Start, some
from tests.data.test_splits_and_batches import write_cifar10
from tests.quick_fork import Fork

MNIST = ("dataset.root={mnist}", "dataset.limit=600")
# ResNet-50 sees 64 pixels instead of 224, and cuts its rate for it; all else is as shipped.
SMALL_IMAGENET = (
    "dataset.root={files}/imagenet", "dataset.size=64", "dataset.batch_size=8",
    "dataset.validation=8", "optimizer.lr=0.01", "schedule.warmup_epochs=1",
)  # fmt: skip
SMALL: dict[str, tuple[str, ...]] = {
    "cifar10_cnn": ("dataset.root={files}/cifar", "dataset.batch_size=16"),
    "digits_cnn": (),
    "mnist_autoencoder": MNIST,
    "mnist_cnn": MNIST,
    "mnist_denoising": MNIST,
    "mnist_encoder": ("dataset.root={mnist}", "transfer.weights={mnist_autoencoder}"),
    "mnist_mlp": MNIST,
    "mnist_pretrain": MNIST,
    "mnist_vae": MNIST,
    **dict.fromkeys(
        ("shapes_cnn", "shapes_multilabel", "shapes_regress", "shapes_segment"),
        ("dataset.train=500", "dataset.test=100"),
    ),
    "stylize": ("loss.weights=random", "dataset.longest=48"),
    "stylize_network": ("dataset.longest=48",),
    "transfer_digits": ("transfer.weights={mnist_pretrain}",),
    "cifar10_fast": (
        "dataset.root={files}/cifar", "dataset.validation=20", "dataset.batch_size=16",
        "schedule.warmup_epochs=1", "optimizer.lr=0.1",
    ),
    "imagenet_resnet50": SMALL_IMAGENET,
    "mnist_record": MNIST,
    "mnist_fast": MNIST,
}  # fmt: skip


def write_imagenet(folder: Path) -> None:
    """Two classes of noise in the form in which people have ImageNet."""
    random = torch.Generator().manual_seed(0)
    for split, count in (("train", 20), ("val", 4)):
        for name in ("n01440764", "n01443537"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 256, (3, 72, 80), dtype=torch.uint8, generator=random)
                write_jpeg(pixels, str(folder / split / name / f"{number}.JPEG"))


def test_each_config_is_known_here() -> None:
    assert set(SMALL) == {file.stem for file in EXPERIMENTS}


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize("config", some(EXPERIMENTS, 6), ids=lambda file: file.stem)
def test_a_killed_run_of_a_shipped_config_ends_at_the_same_bits(
    config: Path,
    cnnrun: Command,
    forked: Start,
    monkeypatch: pytest.MonkeyPatch,
    mnist_root: Path,
    tmp_path: Path,
) -> None:
    def start(_: object, *arguments: str) -> Fork:
        return forked(tmp_path, "train", "-q", *arguments)

    monkeypatch.setattr(verify_resume._Runs, "start", start)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    places = {"mnist": str(mnist_root), "files": str(tmp_path)}

    def settings(name: str) -> list[str]:
        usual = ["training.epochs=3", "training.draw=false", "device=cpu"]
        return [text.format_map(places) for text in (*SMALL[name], *usual)]

    write_cifar10(tmp_path / "cifar" / "cifar-10-batches-py")
    write_imagenet(tmp_path / "imagenet")
    for source in ("mnist_pretrain", "mnist_autoencoder"):
        if any(f"{{{source}}}" in text for text in SMALL[config.stem]):
            trained = cnnrun("train", CONFIGS / f"{source}.yaml", *settings(source), "-q")
            assert trained.code == 0, trained.err
            places[source] = str(tmp_path / trained.out.strip())
    kills = 3 if THOROUGH else 1
    ended = cnnrun("verify-resume", config, *settings(config.stem), "--kills", kills, "--seed", 0,
                   "--json")  # fmt: skip
    print(config.stem, ended.out, ended.err)
    assert ended.code == 0, ended.out + ended.err
    assert json.loads(ended.out)["same"]
