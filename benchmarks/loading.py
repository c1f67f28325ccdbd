"""Images per second from JPEG files to random 224x224 crops, against what torchvision offers.

    python benchmarks/loading.py [--images 1000] [--rounds 3] [--threads 2]

The files are 500x375, quality 90, cut from two photographs; they are read from the system's file
cache. Every way gives batches of 64: cnnrun uint8 batches, as normalization is part of its batch
augmentation on the device; torchvision the float batches of its usual transforms. All are timed in
turn, round after round, so that whatever else the machine does meets all of them; medians are
printed. The last two lines are limits: nothing but reading and decoding all files to the full size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import datasets, transforms

from cnnrun.data.dataset import Images
from cnnrun.data.images.cache import in_memory, on_disk
from cnnrun.data.images.decoding import ImageFormat, ImageOptions
from cnnrun.data.images.files import Files, ImageFiles
from cnnrun.data.images.framing import RandomCrop
from cnnrun.data.prefetch import prefetch
from cnnrun.runtime.container import cores

SIZE, BATCH = 224, 64
Way = Callable[[], int]


def make_files(folder: Path, count: int) -> list[str]:
    """Random parts of two photographs, 400 to 569 pixels wide, resized to 500x375."""
    photographs = [Image.fromarray(array) for array in load_sample_images().images]
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        photograph = photographs[number % 2]
        width = int(random.integers(400, 570))
        height = width * 3 // 4
        left = int(random.integers(photograph.width - width + 1))
        top = int(random.integers(photograph.height - height + 1))
        part = photograph.resize((500, 375), box=(left, top, left + width, top + height))
        path = folder / f"class {number % 2}" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        part.save(path, quality=90)
        paths.append(str(path))
    return paths


def our_ways(paths: list[str], folder: Path, threads: int) -> dict[str, Way]:
    form = ImageFormat((SIZE, SIZE), 3)
    files = Files(paths)
    options = ImageOptions(threads=threads, cache_dir=str(folder / "cache"))
    images = ImageFiles(files, form, threads)
    crop = RandomCrop(seed=0)
    in_ram, _ = in_memory(files, form, options)
    mapped, _ = on_disk(files, form, options)
    batches = torch.split(torch.randperm(len(paths)), BATCH)
    return {
        "cnnrun, first epoch, random crops": lambda: count(
            prefetch(lambda chosen: images.batch(chosen, crop), batches)
        ),
        "cnnrun, first epoch, whole image": lambda: count(prefetch(images.__getitem__, batches)),
        "cnnrun, cache: ram": lambda: count(rows_of(in_ram, chosen) for chosen in batches),
        "cnnrun, cache: disk": lambda: count(mapped[chosen] for chosen in batches),
    }


def torchvision_ways(folder: Path) -> dict[str, Way]:
    usual = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    to_bytes = transforms.Compose([transforms.RandomResizedCrop(SIZE), transforms.PILToTensor()])

    def way(transform: transforms.Compose, workers: int) -> Way:
        found = datasets.ImageFolder(str(folder), transform)
        loader = torch.utils.data.DataLoader(
            found, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        return lambda: count(batch for batch, _ in loader)

    return {
        "ImageFolder, usual transforms, 0 workers": way(usual, 0),
        "ImageFolder, usual transforms, 2 workers": way(usual, 2),
        "ImageFolder, crop to uint8, 2 workers": way(to_bytes, 2),
    }


def limits(paths: list[str], threads: int) -> dict[str, Way]:
    def with_simplejpeg(path: str) -> None:
        simplejpeg.decode_jpeg(Path(path).read_bytes())

    def with_pillow(path: str) -> None:
        Image.open(path).load()

    def way(decode: Callable[[str], None]) -> Way:
        def run() -> int:
            with ThreadPoolExecutor(threads) as pool:
                return len(list(pool.map(decode, paths)))

        return run

    return {
        f"decoding alone, simplejpeg, {threads} threads": way(with_simplejpeg),
        f"decoding alone, Pillow, {threads} threads": way(with_pillow),
    }


def rows_of(images: Images, chosen: torch.Tensor) -> torch.Tensor:
    """As `Batches` takes them from a tensor, or from anything else."""
    return images.index_select(0, chosen) if isinstance(images, torch.Tensor) else images[chosen]


def count(batches: Iterable[torch.Tensor]) -> int:
    """Read all batches; the number of their images."""
    return sum(len(batch) for batch in batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "images"
        folder.mkdir()
        paths = make_files(folder, arguments.images)
        ways = {
            **our_ways(paths, Path(made), arguments.threads),
            **torchvision_ways(folder),
            **limits(paths, arguments.threads),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(arguments.rounds + 1):
            for name, way in ways.items():
                started = time.perf_counter()
                done = way()
                if number:  # the first round warms up
                    rates[name].append(done / (time.perf_counter() - started))
    base = statistics.median(rates["ImageFolder, usual transforms, 2 workers"])
    print(f"{len(paths):,} JPEGs of 500x375 to {SIZE}x{SIZE}, {cores()} cores")
    print(f"{'':<44}{'images/s':>10}{'x ImageFolder':>16}")
    for name, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{name:<44}{rate:>10,.0f}{rate / base:>15.1f}x")


if __name__ == "__main__":
    main()
