"""A folder of images to try things on: python examples/make_photos.py

Writes 240 small images of patterns into `photos/`, a folder for each class, as `dataset: folder` reads them.
"""

from pathlib import Path

import numpy as np
from PIL import Image

random = np.random.default_rng(0)
for number in range(240):
    kind = ("checks", "dots", "stripes")[number % 3]
    pixels = random.integers(0, 90, (60, 80, 3))
    rows, columns = random.integers(5, 10, 2)
    if kind == "stripes":
        pixels[::rows] += 150
    elif kind == "dots":
        pixels[::rows, ::columns] += 150
    else:
        squares = np.add.outer(np.arange(60) // rows, np.arange(80) // columns) % 2
        pixels += 150 * squares[:, :, None]
    pixels = np.roll(pixels, random.integers(0, 20, 2), axis=(0, 1))
    file = Path("photos") / kind / f"{number:03}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(file, quality=90)
