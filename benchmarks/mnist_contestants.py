"""One network on MNIST, trained as users of each tool write it, for `benchmarks.time_to_accuracy`.

    python benchmarks/mnist_contestants.py TOOL ROOT EPOCHS SEED CHANNEL [CHANNEL ...]

TOOL: tutorial, lightning, keras or fastai. ROOT: the folder of `MNIST/raw`, with uncompressed
files. All have batches of 64, AdamW and one cycle of the learning rate (Keras, which has none, a
cosine with warm-up). After each epoch the accuracy on the test digits is printed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

BATCH, RATE, CLASSES = 64, 0.01, 10


def told(accuracy: float) -> None:
    print(f"accuracy {accuracy:.4f}", flush=True)


def network(channels: list[int]) -> Any:
    from torch import nn

    layers: list[nn.Module] = []
    side, inputs = 28, 1
    for outputs in channels:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        inputs, side = outputs, side // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * side * side, CLASSES))


def loaders(root: str) -> tuple[Any, Any]:
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    change = transforms.Compose(steps)
    train, test = (
        datasets.MNIST(root, train=train, transform=change, download=False)
        for train in (True, False)
    )
    return DataLoader(train, BATCH, shuffle=True), DataLoader(test, 1000)


def tutorial(root: str, epochs: int, seed: int, channels: list[int]) -> None:
    import torch
    import torch.nn.functional as F

    torch.manual_seed(seed)
    train, test = loaders(root)
    model = network(channels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * len(train))
    for _ in range(epochs):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in test)
        told(right / len(test.dataset))


def lightning(root: str, epochs: int, seed: int, channels: list[int]) -> None:
    import lightning as L
    import torch
    import torch.nn.functional as F

    L.seed_everything(seed)
    train, test = loaders(root)

    class Digits(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network(channels)
            self.right = 0

        def training_step(self, batch: Any, _number: int) -> Any:
            images, labels = batch
            loss = F.cross_entropy(self.network(images), labels)
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, _number: int) -> None:
            images, labels = batch
            self.right += int((self.network(images).argmax(1) == labels).sum())

        def on_validation_epoch_end(self) -> None:
            told(self.right / len(test.dataset))
            self.right = 0

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=RATE)
            steps = self.trainer.estimated_stepping_batches
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, int(steps))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(Digits(), train, test)


def keras(root: str, epochs: int, seed: int, channels: list[int]) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as k
    from torchvision import datasets

    k.utils.set_random_seed(seed)
    (x, y), (test_x, test_y) = (
        ((found.data.numpy()[..., None] / 255 - 0.1307) / 0.3081, found.targets.numpy())
        for found in (datasets.MNIST(root, train=train) for train in (True, False))
    )
    layers: list[Any] = [k.Input((28, 28, 1))]
    for count in channels:
        conv = k.layers.Conv2D(count, 3, padding="same", use_bias=False)
        layers += [conv, k.layers.BatchNormalization(momentum=0.9), k.layers.ReLU()]
        layers.append(k.layers.MaxPooling2D())
    model = k.Sequential([*layers, k.layers.Flatten(), k.layers.Dense(CLASSES)])
    steps = epochs * -(-len(x) // BATCH)
    warm = max(1, int(0.3 * steps))
    rate = k.optimizers.schedules.CosineDecay(
        RATE / 25, steps - warm, warmup_target=RATE, warmup_steps=warm
    )
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(k.optimizers.AdamW(rate, weight_decay=0.01), loss, metrics=["accuracy"])
    tell = k.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: told(logs["val_accuracy"]))
    data = {"validation_data": (test_x, test_y), "callbacks": [tell]}
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, **data)


def fastai(root: str, epochs: int, seed: int, channels: list[int]) -> None:
    from fastai.callback.core import Callback
    from fastai.callback.schedule import Learner  # noqa: F401  (adds fit_one_cycle)
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner as Trainer
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy
    from fastai.torch_core import set_seed

    class Tell(Callback):
        def after_validate(self) -> None:
            told(float(self.learn.recorder.metrics[0].value))

    set_seed(seed)
    data = DataLoaders(*loaders(root))
    found = Trainer(
        data, network(channels), loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=Tell()
    )
    with found.no_bar(), found.no_logging():
        found.fit_one_cycle(epochs, RATE)


if __name__ == "__main__":
    tool, root, *numbers = sys.argv[1:]
    epochs, seed, *channels = map(int, numbers)
    globals()[tool](root, epochs, seed, channels)
