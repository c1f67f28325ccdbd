"""A network drawn from top to bottom: boxes as wide as its maps, what they do, what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cnnrun.models.description.layer_table import (
    Description,
    Layer,
    Shape,
    count_text,
    kind_text,
    pair_text,
    shape_text,
    window_text,
)
from cnnrun.plots.drawing.lettering import line_height, shorten
from cnnrun.plots.drawing.sheet import HEADER, Sheet
from cnnrun.plots.style import (
    BLUE,
    FRAME,
    GREEN,
    INK,
    MARGIN,
    MUTED,
    ORANGE,
    PURPLE,
    SMALL,
    TEXT,
    VERMILLION,
    Figure,
    matplotlib,
    styled,
)

MOST_BOXES = 32
"""More are grouped by the prefixes of their names, so that the plot stays legible."""

BOXES, WORDS, NUMBERS = 220, 470, 140
"""Pixels: the widest box, what is written right of the boxes, each of two columns of numbers."""

ARROW = 16
"""Pixels at least between one box and the next."""

FOLLOWERS = ("Norm", "LU", "Sigmoid", "Tanh", "swish", "sigmoid", "Identity", "Drop", "Flatten")
"""Parts of the kinds of layers that share the box of the layer that they follow."""

COLOURS = {"Conv": BLUE, "Local": PURPLE, "Pool": GREEN, "Linear": ORANGE}
"""By a part of a layer's kind."""


@dataclass(frozen=True)
class Box:
    """A layer and its followers, or a block of layers; `times` such in a row."""

    name: str
    kind: str
    contents: tuple[str, ...]
    input_shape: Shape
    output_shape: Shape
    field: tuple[int, int] | None
    parameters: int
    multiply_adds: int
    is_block: bool
    times: int = 1

    @property
    def title(self) -> str:
        what = self.kind if self.is_block else " + ".join(self.contents)
        return f"{self.times} × {what}" if self.times > 1 else what

    @property
    def colour(self) -> str:
        if self.is_block:
            return VERMILLION
        return next((c for part, c in COLOURS.items() if part in self.kind), FRAME)

    def repeats(self, last: Box) -> bool:
        """Whether it does the same again as the box `last`, which may be several."""
        same = replace(self, name=last.name, field=last.field, times=last.times) == last
        return same and self.input_shape == self.output_shape


def boxes_of(description: Description) -> list[Box]:
    """What is drawn of each part of the network, from the image on."""
    # A row that sums up what a module does itself is no step on the way.
    inner = {layer.name.rpartition(".")[0] for layer in description.layers}
    layers = [n for n in description.layers if n.name != "(model)" and n.name not in inner]
    boxes = _without_repeats(_boxes(_groups(layers)))
    depth = max((layer.name.count(".") for layer in layers), default=0)
    while len(boxes) > MOST_BOXES and depth:
        boxes = _without_repeats(_boxes(_by_name(layers, depth)))
        depth -= 1
    return boxes


def _groups(layers: Sequence[Layer]) -> Iterator[tuple[str, list[Layer]]]:
    """Consecutive layers that are in the same block, or one layer and its followers."""
    level = _block_level(layers)
    name, group = "", list[Layer]()
    for layer in layers:
        blocks = layer.blocks[level:]
        block = blocks[0].name if blocks else ""
        follows = not block and not name and _follows(layer)
        if group and not (block and block == name) and not follows:
            yield name, group
            group = []
        name = block
        group.append(layer)
    yield name, group


def _follows(layer: Layer) -> bool:
    return any(part in layer.kind for part in FOLLOWERS)


def _block_level(layers: Sequence[Layer]) -> int:
    """1 where most layers are in one block (a transformer's encoder), so that is looked into."""
    outermost = [layer.blocks[0].name for layer in layers if layer.blocks]
    largest = max(map(outermost.count, set(outermost)), default=0)
    return int(largest > len(layers) / 2)


def _by_name(layers: Sequence[Layer], depth: int) -> Iterator[tuple[str, list[Layer]]]:
    """Consecutive layers whose names have the same `depth` parts in front."""
    group = list[Layer]()
    for layer in layers:
        if group and _front(layer, depth) != _front(group[0], depth):
            yield (_front(group[0], depth) if len(group) > 1 else ""), group
            group = []
        group.append(layer)
    yield (_front(group[0], depth) if len(group) > 1 else ""), group


def _front(layer: Layer, depth: int) -> str:
    return ".".join(layer.name.split(".")[:depth])


def _boxes(groups: Iterator[tuple[str, list[Layer]]]) -> Iterator[Box]:
    for name, layers in groups:
        block = next((b for b in layers[-1].blocks if b.name == name), None)
        leaders = [layer for layer in layers if not _follows(layer)]
        is_block = bool(name) and len(leaders) > 1
        shown = leaders if is_block else layers
        yield Box(
            name=name or layers[0].name,
            kind=(block.kind if block else name) if is_block else layers[0].kind,
            contents=tuple(f"{kind_text(n)} {window_text(n)}".strip() for n in shown),
            input_shape=layers[0].input_shape,
            # Where branches meet, the block's output is that of none of its layers.
            output_shape=block.output_shape if block else layers[-1].output_shape,
            field=_largest_field(layers) if is_block else layers[-1].receptive_field,
            parameters=sum(layer.parameters for layer in layers),
            multiply_adds=sum(layer.multiply_adds for layer in layers),
            is_block=is_block,
        )


def _largest_field(layers: Sequence[Layer]) -> tuple[int, int] | None:
    fields = [layer.receptive_field for layer in layers if layer.receptive_field]
    if len(fields) < len(layers):
        return layers[-1].receptive_field
    return max(height for height, _ in fields), max(width for _, width in fields)


def _without_repeats(boxes: Iterator[Box]) -> list[Box]:
    kept: list[Box] = []
    for box in boxes:
        if kept and box.repeats(kept[-1]):
            kept[-1] = replace(kept[-1], times=kept[-1].times + 1, field=box.field)
        else:
            kept.append(box)
    return kept


@styled
def draw_diagram(description: Description) -> Figure:
    """The network from the image above to the logits below.

    A box is as wide as its maps (square root) and as high as they are many (logarithm). Norms and
    activations share the box of the layer that they follow; a residual block or the like is one
    box, and equal ones in a row are drawn once.
    """
    boxes = boxes_of(description)
    shapes = [description.input_shape, *(box.output_shape for box in boxes)]
    sizes = [_box_size(shape, description.input_shape) for shape in shapes]
    rows = [max(height, _words_height(i > 0)) for i, (_, height) in enumerate(sizes)]
    tops = [HEADER + 12 + sum(rows[:i]) + i * ARROW for i in range(len(rows))]
    width = 2 * MARGIN + BOXES + WORDS + 2 * NUMBERS
    title = (
        f"{description.model}: {description.parameters:,} parameters, "
        f"{count_text(description.multiply_adds)} MACs per image"
    )
    sheet = Sheet(width, tops[-1] + rows[-1] + MARGIN, title)
    middles = [top + row / 2 for top, row in zip(tops, rows, strict=True)]
    colours = [FRAME, *(box.colour for box in boxes)]
    for size, middle, colour in zip(sizes, middles, colours, strict=True):
        _draw_box(sheet, size, middle, colour)
    for i in range(len(boxes)):
        _draw_arrow(sheet, middles[i] + sizes[i][1] / 2, middles[i + 1] - sizes[i + 1][1] / 2)
    _write_input(sheet, description.input_shape, middles[0])
    for box, middle in zip(boxes, middles[1:], strict=True):
        _write_words(sheet, box, middle)
    return sheet.figure


def _box_size(shape: Shape, image: Shape) -> tuple[float, float]:
    """(width, height) in pixels."""
    maps = shape if len(shape) == 3 else (shape[-1] if shape else 1, 1, 1)
    width = BOXES * min(math.sqrt(maps[2] / image[2]), 1)
    return max(width, 14), 12 + 3.2 * math.log2(maps[0] + 1)


def _words_height(two_lines: bool) -> int:
    return line_height(TEXT) + (line_height(SMALL) if two_lines else 0)


def _draw_box(sheet: Sheet, size: tuple[float, float], middle: float, colour: str) -> None:
    width, height = size
    corner = MARGIN + (BOXES - width) / 2, middle - height / 2
    fill = matplotlib.colors.to_rgba(colour, 0.35)
    box = matplotlib.patches.Rectangle(corner, width, height, facecolor=fill, edgecolor=colour)
    sheet.figure.axes[0].add_patch(box)


def _draw_arrow(sheet: Sheet, start: float, end: float) -> None:
    x = MARGIN + BOXES / 2
    form = {"arrowstyle": "-|>", "color": MUTED, "shrinkA": 1, "shrinkB": 1, "mutation_scale": 8}
    sheet.figure.axes[0].annotate("", (x, end), (x, start), arrowprops=form)


def _write_input(sheet: Sheet, shape: Shape, middle: float) -> None:
    baseline = middle + 6
    left = MARGIN + BOXES + 24
    sheet.write(left, baseline, "image", color=MUTED)
    sheet.write(left + WORDS, baseline, shape_text(shape), color=MUTED, ha="right")
    for i, heading in enumerate(("parameters", "MACs")):
        right = left + WORDS + (i + 1) * NUMBERS - 24
        sheet.write(right, baseline, heading, color=MUTED, ha="right")


def _write_words(sheet: Sheet, box: Box, middle: float) -> None:
    """Above: what it is, its output, its cost. Below: its name, its field."""
    left, above = MARGIN + BOXES + 24, middle - 1
    below = above + line_height(SMALL)
    room = WORDS - 110
    sheet.write(left, above, shorten(box.title, room), color=INK)
    name = f"{box.name}: {', '.join(box.contents)}" if box.is_block else box.name
    sheet.write(
        left, below, shorten(name, room, SMALL, keep_end=not box.is_block), size=SMALL, color=MUTED
    )
    right = left + WORDS
    sheet.write(right, above, shape_text(box.output_shape), ha="right")
    if box.field:
        text = f"sees {pair_text(box.field, square=True)}"
        sheet.write(right, below, text, size=SMALL, color=MUTED, ha="right")
    for i, number in enumerate((box.parameters, box.multiply_adds)):
        if number:
            text = count_text(number * box.times)
            sheet.write(right + (i + 1) * NUMBERS - 24, above, text, ha="right")
