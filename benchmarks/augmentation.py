"""Images per second of batch augmentation, compared with the ways that torchvision offers.

    python benchmarks/augmentation.py [--size 32] [--batch 128] [--device cpu] [--threads 1]

All methods of a table are timed in turn, round after round, so that whatever else the machine does
meets all of them; printed are medians after one warm-up round. "One draw" marks what gives all
images of a batch the same rotation or color: faster or not, it is another augmentation.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2

from cnnrun.data.pipeline import Pipeline
from cnnrun.registry import augmentations

MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
DTYPE = [v2.ToDtype(torch.float32, scale=True)]

# What is compared: our augmentations, and torchvision's on PIL images and on tensors.
CASES: dict[str, tuple[dict[str, dict[str, Any]], list[Any], list[Any]]] = {
    "flip + rotation 10": (
        {"horizontal_flip": {}, "rotation": {"degrees": 10.0}},
        [v1.RandomHorizontalFlip(), v1.RandomRotation(10)],
        [v2.RandomHorizontalFlip(), v2.RandomRotation(10), *DTYPE],
    ),
    "flip + shift_crop 4": (
        {"horizontal_flip": {}, "shift_crop": {"padding": 4}},
        [v1.RandomHorizontalFlip(), "crop"],
        [v2.RandomHorizontalFlip(), "crop", *DTYPE],
    ),
    "color_jitter 0.4 0.4 0.4 0.1": (
        {"color_jitter": {}},
        [v1.ColorJitter(0.4, 0.4, 0.4, 0.1)],
        [*DTYPE, v2.ColorJitter(0.4, 0.4, 0.4, 0.1)],
    ),
    "blur sigma 0.1 to 1, each image": (
        {"blur": {"probability": 1.0}},
        [v1.GaussianBlur(7, (0.1, 1.0))],
        [*DTYPE, v2.GaussianBlur(7, (0.1, 1.0))],
    ),
    "randaugment 2 of magnitude 9": (
        {"randaugment": {}},
        [v1.RandAugment()],
        [v2.RandAugment(), *DTYPE],
    ),
}


def methods(case: str, images: Tensor) -> dict[str, Callable[[], Any]]:
    """The ways to augment and normalize the batch, by name; first the one to compare with."""
    ours, pil_steps, v2_steps = CASES[case]
    size = images.shape[-1]
    pil = v1.Compose(
        [
            v1.ToPILImage(),
            *(v1.RandomCrop(size, padding=4) if step == "crop" else step for step in pil_steps),
            v1.ToTensor(),
            v1.Normalize(MEAN, STD),
        ]
    )
    tensor = v2.Compose(
        [
            *(v2.RandomCrop(size, padding=4) if step == "crop" else step for step in v2_steps),
            v2.Normalize(MEAN, STD),
        ]
    )
    stored = images.cpu()
    return {
        "torchvision, PIL, image by image": lambda: torch.stack([pil(image) for image in stored]),
        "torchvision v2, tensors, image by image": lambda: torch.stack([tensor(i) for i in images]),
        "torchvision v2, whole batch, one draw": lambda: tensor(images),
        "cnnrun, nearest": ours_by(ours, images, "nearest"),
        "cnnrun, bilinear": ours_by(ours, images, "bilinear"),
    }


def ours_by(
    names: dict[str, dict[str, Any]], images: Tensor, interpolation: Any
) -> Callable[[], Any]:
    items = [augmentations.get(name).factory(**options) for name, options in names.items()]
    pipeline = Pipeline(
        items, MEAN, STD, interpolation=interpolation, device=images.device, num_classes=10
    )
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    generator = torch.Generator(images.device).manual_seed(0)
    return lambda: pipeline(images, labels, generator)


def seconds(method: Callable[[], Any], device: torch.device) -> float:
    started = time.perf_counter()
    method()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; PIL has one in any case")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, batch = torch.device(arguments.device), arguments.batch
    shape = (batch, 3, arguments.size, arguments.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    print(
        f"{batch} x 3 x {arguments.size} x {arguments.size} uint8 on {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for case in CASES:
        timed = methods(case, images)
        rounds = [
            [seconds(method, device) for method in timed.values()]
            for _ in range(arguments.rounds + 1)
        ][1:]
        medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
        print(f"\n{case}, normalized: images/s, and times as fast as PIL")
        for name, median in zip(timed, medians, strict=True):
            print(f"  {name:<42}{batch / median:>12,.0f}{medians[0] / median:>9.1f}x")


if __name__ == "__main__":
    main()
