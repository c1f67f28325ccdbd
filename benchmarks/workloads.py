"""What the training benchmark trains: experiments, and the same data as others would load them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from cnnrun.config.experiment import from_dict
from cnnrun.engine.build import build
from cnnrun.engine.parts import Parts

ONE_EPOCH: dict[str, Any] = {"epochs": 1}


@dataclass(frozen=True)
class Workload:
    """An experiment, and the per-sample transforms that a tutorial would write for it."""

    name: str
    experiment: dict[str, Any]
    transforms: list[Any]
    epochs: int = 1

    def parts(self) -> Parts:
        values = {"name": "benchmark", "optimizer": SGD, "training": ONE_EPOCH, **self.experiment}
        return build(from_dict(values, f"the workload {self.name}"))


SGD = {"name": "sgd", "lr": 0.01, "momentum": 0.9}
FLIP_AND_TURN = [{"name": "horizontal_flip"}, {"name": "rotation", "degrees": 10}]


def workloads(data: Path) -> list[Workload]:
    """data: the folder that holds MNIST/raw."""
    mnist = {"name": "mnist", "root": str(data), "validation": 0, "download": False}
    fake = {"name": "fake", "count": 4096, "validation": 0}
    mlp = {"name": "mlp", "hidden": [512, 512], "dropout": 0.2}
    cnn = {"name": "cnn", "channels": [32, 64, 128], "batch_norm": True, "head": [256]}
    small = {"name": "cnn", "channels": [16, 32, 64], "head": [500], "dropout": 0.25}
    resnet = {"name": "torchvision/resnet18"}
    return [
        *(
            Workload(
                f"MNIST MLP, batch {n}", {"dataset": {**mnist, "batch_size": n}, "model": mlp}, []
            )
            for n in (20, 128)
        ),
        *(
            Workload(
                f"CNN {name} at 32x32, flip + rotation 10, batch 128",
                {"dataset": {**fake, "batch_size": 128, "augment": FLIP_AND_TURN}, "model": model},
                [transforms.RandomHorizontalFlip(), transforms.RandomRotation(10)],
            )
            for name, model in (("16-32-64", small), ("32-64-128", cnn))
        ),
        Workload(
            "ResNet-18 at 224 from JPEGs, batch 16",
            {
                "dataset": {
                    "name": "folder",
                    "root": jpegs(64),
                    "size": 224,
                    "batch_size": 16,
                    "validation": 0,
                    "augment": [{"name": "random_resized_crop"}],
                },
                "model": resnet,
            },
            [transforms.RandomResizedCrop(224, antialias=True)],
        ),
        Workload(
            "ResNet-18 frozen but its head, 64x64, batch 32, 5 epochs",
            {
                "dataset": {**fake, "count": 256, "height": 64, "width": 64, "batch_size": 32},
                "model": resnet,
                "transfer": {"freeze": "features"},
            },
            [],
            epochs=5,
        ),
    ]


def jpegs(count: int) -> str:
    """A folder of so many 500x375 JPEGs that look like photos to a decoder."""
    folder = Path(tempfile.mkdtemp(prefix="cnnrun-benchmark-"))
    random = torch.Generator().manual_seed(0)
    for split, number in (("train", count), ("test", 4)):
        for i in range(number):
            small = torch.rand(1, 3, 24, 32, generator=random)
            large = torch.nn.functional.interpolate(small, (375, 500), mode="bicubic")[0]
            pixels = (large.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
            file = folder / split / f"class {i % 2}" / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file, quality=90)
    return str(folder)


class Samples(Dataset[tuple[torch.Tensor, int]]):
    """One image at a time through PIL and per-sample transforms, as torchvision's sets do it."""

    def __init__(self, parts: Parts, workload: Workload) -> None:
        split = parts.dataset.train
        self.labels = split.labels.tolist()
        self.open = _opener(parts)
        self.transform = transforms.Compose(
            [
                *workload.transforms,
                transforms.ToTensor(),
                transforms.Normalize(parts.normalization.mean, parts.normalization.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.open(index)), self.labels[index]


def _opener(parts: Parts) -> Callable[[int], Image.Image]:
    images = parts.dataset.train.images
    if not isinstance(images, torch.Tensor):
        root = Path(parts.experiment.dataset.root) / "train"  # type: ignore[attr-defined]
        files = sorted(root.rglob("*.jpg"))
        return lambda index: Image.open(files[index]).convert("RGB")
    arrays = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return lambda index: Image.fromarray(arrays[index])
