"""A folder of images to try things on: python examples/make_photos.py

Draws 240 small images into `photos/`, a folder for each class, as `dataset: folder` reads them.
"""

import random
from pathlib import Path

from PIL import Image, ImageDraw

random.seed(0)


def color(low: int, high: int) -> tuple[int, ...]:
    return tuple(random.randint(low, high) for _ in range(3))


for number in range(240):
    kind = ("circles", "squares", "triangles")[number % 3]
    image = Image.new("RGB", (80, 60), color(0, 90))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        draw.line([random.randrange(80) for _ in range(4)], fill=color(0, 150), width=2)
    x, y, radius = random.randint(22, 58), random.randint(22, 38), random.randint(12, 20)
    if kind == "circles":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color(150, 255))
    else:
        sides = 4 if kind == "squares" else 3
        draw.regular_polygon((x, y, radius), sides, fill=color(150, 255))
    file = Path("photos") / kind / f"{number:03}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
