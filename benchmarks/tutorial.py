"""A training script as tutorials write it, for `benchmarks.commands`: the CIFAR-size CNN.

    python benchmarks/tutorial.py EPOCHS

Images of random pixels; per-sample transforms with Pillow, DataLoader, `.item()` at each step.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

NORMALIZE = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
AUGMENT = [transforms.RandomHorizontalFlip(), transforms.RandomRotation(10)]


class Images(datasets.VisionDataset):
    """Random images that lie in memory, as torchvision's CIFAR10 keeps its own."""

    def __init__(self, count: int, steps: list[Any]) -> None:
        super().__init__("", transform=transforms.Compose([*steps, *NORMALIZE]))
        self.data = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8).numpy()
        self.targets = torch.randint(0, 10, (count,)).tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(transforms.ToPILImage()(self.data[index])), self.targets[index]


def network() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers, *head)


def main(epochs: int) -> None:
    train = DataLoader(Images(4096, AUGMENT), 128, shuffle=True)
    test = DataLoader(Images(1024, []), 128)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(epochs):
        model.train()
        running = 0.0
        for inputs, targets in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(inputs)
        model.eval()
        correct = 0
        with torch.no_grad():
            for inputs, targets in test:
                correct += int((model(inputs).argmax(1) == targets).sum().item())
        print(f"epoch {epoch + 1}: loss {running / 4096:.4f}, accuracy {correct / 1024:.4f}")
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(model.state_dict(), file.name)


if __name__ == "__main__":
    main(int(sys.argv[1]))
